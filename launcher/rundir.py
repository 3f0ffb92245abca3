"""The run directory: what the launcher writes into it before anything starts, and how others read it."""

import errno
import importlib.metadata
import os
import platform
import shlex
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import DictConfig, OmegaConf

from melissa_like.client.runner import SOLVER_FILE, SolverCall
from melissa_like.config import CONFIG_FILE, Config, load_config
from melissa_like.errors import ConfigurationError
from melissa_like.study.journal import JOURNAL_FILE

__all__ = [
    "CANNOT_WRITE",
    "REPORT_FILE",
    "STATUS_FILE",
    "create_run_dir",
    "log_path",
    "make_new_folder",
    "no_room",
    "renew_run_dir",
    "resume_command",
    "solver_call_of",
    "working_directory_of",
    "write_json",
]

#: Of a write to a run directory: it is full, or cannot be written any more; an expired ticket is told as a permission.
CANNOT_WRITE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EACCES, errno.EPERM),
)
REPORT_FILE = "report.json"
STATUS_FILE = "status.json"
_VERSIONS_FILE = "versions.json"
_STARTED_IN = "working_directory"
_PACKAGES = ("melissa-like", "torch", "numpy", "scipy", "pyzmq", "msgspec", "hydra-core", "mpi4py", "mpich")


def create_run_dir(config: DictConfig, run_dir: Path) -> None:
    """Make the directory with the resolved configuration, what it is run with, and the plug-in call.

    Raises:
        ConfigurationError: the directory already holds a study, or cannot be written.
    """
    for name in (JOURNAL_FILE, CONFIG_FILE, REPORT_FILE):
        if (run_dir / name).exists():
            raise _taken(run_dir, name)
    try:
        (run_dir / "logs").mkdir(parents=True, exist_ok=True)
        run_dir.chmod(0o700)  # whatever the umask: nobody else reads keys, logs and results, or finds a way to them
        with (run_dir / CONFIG_FILE).open("x") as stream:  # of two launchers that start now only one goes on
            OmegaConf.save(config, stream, resolve=True)
        write_json(run_dir / _VERSIONS_FILE, {**_versions(), _STARTED_IN: os.getcwd()})
    except FileExistsError as error:
        raise _taken(run_dir, Path(str(error.filename)).name) from None
    except OSError as error:
        raise ConfigurationError(f"run_dir {run_dir} cannot be written: {error}") from None
    call = solver_call_of(load_config(run_dir))
    if call is not None:
        (run_dir / SOLVER_FILE).write_bytes(msgspec.json.encode(call))


def _taken(run_dir: Path, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"run_dir {run_dir} already holds a study ({name} is there): choose another run_dir, remove it, or go on with "
        f"that study by `{resume_command(run_dir)}`"
    )


def resume_command(run_dir: Path) -> str:
    """What a user types to go on with a study."""
    return f"melissa-like resume {shlex.quote(str(run_dir))}"


def renew_run_dir(config: DictConfig, run_dir: Path, incarnation: int) -> None:
    """Write the configuration of another launcher; what the one before wrote and left is kept under its number.

    Args:
        config: from now on.
        run_dir: of the study.
        incarnation: of the launcher before.

    Raises:
        OSError: it cannot be written.
    """
    for name in (CONFIG_FILE, _VERSIONS_FILE, REPORT_FILE):
        path = run_dir / name
        kept = path.with_stem(f"{path.stem}-{incarnation}")
        if path.exists() and not kept.exists():
            shutil.copyfile(path, kept)
    started_in = working_directory_of(run_dir)
    (run_dir / REPORT_FILE).unlink(missing_ok=True)
    write_json(run_dir / _VERSIONS_FILE, {**_versions(), _STARTED_IN: str(started_in)})
    temporary = run_dir / f"{CONFIG_FILE}.tmp"
    OmegaConf.save(config, temporary, resolve=True)
    temporary.replace(run_dir / CONFIG_FILE)


def working_directory_of(run_dir: Path) -> Path:
    """The folder where a study was started: relative paths in its configuration are meant from there."""
    try:
        return Path(msgspec.json.decode((run_dir / _VERSIONS_FILE).read_bytes())[_STARTED_IN])
    except (OSError, msgspec.DecodeError, KeyError):
        return Path.cwd()


def make_new_folder(wanted: Path) -> Path:
    """Make a folder that was not there, with its parents: the wanted one, or else its name with _2, _3, and so on.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise ConfigurationError(f"run_dir {wanted} cannot be made: {error}") from None
    raise AssertionError("there is always another number")


def solver_call_of(config: Config) -> SolverCall | None:
    """The generator plug-in of a configuration, if it has one."""
    if not config.solver.solve:
        return None
    options = {name: value for name, value in config.solver.solve.items() if name != "_target_"}
    return SolverCall(target=config.solver.solve["_target_"], options=options)


def no_room(run_dir: Path, error: OSError) -> str:
    """Why a study ends whose run directory cannot be written."""
    return (
        f"the launcher cannot write to {run_dir} ({error.strerror}), so it has ended the study: make room, or choose "
        "another run_dir"
    )


def log_path(run_dir: Path, job: str) -> Path:
    """Where a job's output goes."""
    return run_dir / "logs" / f"{job}.log"


def write_json(path: Path, content: Any) -> None:
    """Write aside and rename, so that a reader never sees half a file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    temporary.replace(path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
