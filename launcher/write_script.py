"""`melissa-like run ... --write-script [FILE]`: the study is checked, and a script that runs it is written."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.batch_script import batch_script, parts_of
from melissa_like.launcher.run import prepare

__all__ = ["DEFAULT_FILE", "inside_allocation", "write_script"]

DEFAULT_FILE = "melissa-like.sbatch"
_GROUP = "launcher"
_INSIDE = "launcher=slurm_steps"


def inside_allocation(overrides: Sequence[str]) -> list[str]:
    """The same overrides, for a launcher that runs inside an allocation."""
    kept = [override for override in overrides if override.partition("=")[0] != _GROUP]
    return [_INSIDE, *kept]


def write_script(composed: DictConfig, words: Sequence[str], file: Path) -> str:
    """Check a study and write the script that runs it.

    Args:
        composed: the configuration, for inside an allocation.
        words: of the command line that it was composed of: options and overrides.
        file: to be written.

    Returns:
        What to do with it, for people.

    Raises:
        ConfigurationError: the study cannot be run, or the file is there already or cannot be written.
    """
    run_dir = Path(composed.run_dir).absolute()
    composed.run_dir = str(run_dir)
    config, _ = prepare(composed, starts_here=False)
    kept = [word for word in words if word.partition("=")[0] != "run_dir"]
    text = batch_script(
        config,
        parts_of(config),
        command=_command(),
        run=["run", *kept, f"run_dir={run_dir}"],
        run_dir=run_dir,
        folder=Path.cwd(),
    )
    try:
        with file.open("x") as stream:
            stream.write(text)
        file.chmod(0o755)
    except FileExistsError:
        raise ConfigurationError(
            f"{file} is there already, perhaps with changes of yours: remove it, or name another by --write-script FILE"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"the script {file} cannot be written: {error}") from None
    return f"{file} is written: look at what it asks for, then submit it by `sbatch {file}`"


def _command() -> list[str]:
    """Starts `melissa-like` from wherever: the program beside this Python, or this Python with the package."""
    beside = shutil.which("melissa-like", path=os.path.dirname(sys.executable))
    return [beside] if beside is not None else [sys.executable, "-m", "melissa_like.launcher"]
