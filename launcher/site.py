"""`melissa-like site`: a first file of site settings, from what the scheduler says."""

import getpass
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from melissa_like.errors import ConfigurationError, MelissaLikeError, SchedulerError
from melissa_like.launcher.partitions import ACCOUNTS, PARTITIONS, read_accounts, read_partitions, site_yaml

__all__ = ["SITE_USAGE", "site", "write_site"]

SITE_USAGE = """usage: melissa-like site [FILE]

Writes a first file of site settings from what Slurm says here: partitions, their limits, GPUs. Without FILE it is
printed.

  melissa-like site my_configs/launcher/site.yaml
  melissa-like doctor --config-dir my_configs launcher=site
  melissa-like run --config-dir my_configs launcher=site
"""
_GROUP = "launcher"
_ANSWER_S = 60.0


def site(arguments: Sequence[str]) -> int:
    """The command, with what follows its name; gives its exit code."""
    if len(arguments) > 1:
        sys.stderr.write(SITE_USAGE)
        return 2
    try:
        if not arguments:
            sys.stdout.write(_ask())
            return 0
        path = Path(arguments[0])
        write_site(path)
    except MelissaLikeError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    folder = path.parent.parent
    sys.stdout.write(f"written to: {path} (try it: melissa-like doctor --config-dir {folder} {_GROUP}={path.stem})\n")
    return 0


def write_site(path: Path) -> None:
    """Write the file; it must be one of the configuration group `launcher`.

    Raises:
        ConfigurationError: the path is not one of such a file, is taken, or cannot be written; or there is no Slurm.
        SchedulerError: Slurm does not answer.
    """
    if path.suffix != ".yaml" or path.resolve().parent.name != _GROUP:
        raise ConfigurationError(
            f"{path} would not be found as a file of the group {_GROUP}: write FOLDER/{_GROUP}/NAME.yaml, as in "
            f"my_configs/{_GROUP}/site.yaml, which --config-dir my_configs {_GROUP}=site finds"
        )
    text = _ask()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already: remove it, or give another name") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from None


def _ask() -> str:
    """The file's content.

    Raises:
        ConfigurationError: there is no Slurm, or no partition of it is up.
        SchedulerError: Slurm does not answer.
    """
    if shutil.which(PARTITIONS[0]) is None:
        raise ConfigurationError(
            f"there is no Slurm here: no program {PARTITIONS[0]} on PATH. Type the command on the login node of your "
            f"cluster; for another scheduler write the file by hand, as in {_GROUP}/README.md"
        )
    try:
        partitions = read_partitions(_output(PARTITIONS))
    except ValueError as error:
        raise SchedulerError(f"Slurm does not answer as expected: {error}") from None
    if not partitions:
        raise ConfigurationError("no partition of this cluster is up: look at sinfo, and try again when one is")
    return site_yaml(partitions, _accounts(), where=socket.gethostname())


def _accounts() -> list[str]:
    """Those of the user, where the site keeps accounts and tells of them."""
    if shutil.which(ACCOUNTS[0]) is None:
        return []
    try:
        return read_accounts(_output((*ACCOUNTS, f"user={getpass.getuser()}")))
    except SchedulerError:  # a site without accounting has none
        return []


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SchedulerError(f"{command[0]} does not answer: {error}") from None
    if done.returncode != 0:
        raise SchedulerError(f"{' '.join(command)} ended with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
