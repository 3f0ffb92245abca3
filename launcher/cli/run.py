"""`melissa-like run`: a study, a sweep, a dry run, or the script of a batch job."""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from melissa_like.launcher.cli.composing import compose, compose_one
from melissa_like.launcher.cli.options import DRY_RUN, WRITE_SCRIPT, only_shows, split, take_value

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """The command, with what follows its name; gives its exit code."""
    from melissa_like.launcher.runs import Runs, new_folders

    if any(argument.partition("=")[0] == WRITE_SCRIPT for argument in arguments):
        return _write_script(arguments)
    plain, dry = [argument for argument in arguments if argument != DRY_RUN], DRY_RUN in arguments
    options, overrides = split(plain)
    runs = Runs(overrides, dry=dry)
    with new_folders(make=not dry and not only_shows(options)):
        try:
            compose(runs.run, plain)
            runs.finish()
        finally:
            runs.close()
    return runs.code


def _write_script(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.runs import new_folders
    from melissa_like.launcher.write_script import DEFAULT_FILE, inside_allocation, write_script

    file, plain = take_value(WRITE_SCRIPT, arguments)
    if refused := {"-m", "--multirun", DRY_RUN} & set(plain):
        sys.stderr.write(f"melissa-like: {WRITE_SCRIPT} writes the script of one study: leave out {min(refused)}\n")
        return 2
    options, overrides = split(plain)
    words = [*options, *inside_allocation(overrides)]

    def write(composed: DictConfig) -> int:
        sys.stdout.write(write_script(composed, words, Path(file or DEFAULT_FILE)) + "\n")
        return 0

    with new_folders(make=False):
        return compose_one(write, words)
