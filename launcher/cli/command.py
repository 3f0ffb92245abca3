"""The first word of the command line, and help."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence

from melissa_like.config.mistakes import did_you_mean
from melissa_like.launcher.cli.check import check, doctor
from melissa_like.launcher.cli.options import HELP, config_folders, refuse_unknown_options, split
from melissa_like.launcher.cli.resume import resume, usage_of_resume
from melissa_like.launcher.cli.run import run
from melissa_like.launcher.cli.status import status
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.scale import SCALE_USAGE, scale
from melissa_like.launcher.site import SITE_USAGE, site
from melissa_like.launcher.streams import open_standard_streams, told_of_lost_output

__all__ = ["main"]

_USAGE = """usage: melissa-like COMMAND ...

  run [OVERRIDES] [-m] [--dry-run] [--config-dir DIR]   run a study; -m sweeps over comma-separated values
  run [OVERRIDES] --write-script [FILE]                 write a batch script for Slurm that runs it in one allocation
  resume RUN_DIR [KEY=VALUE ...]                        go on with a study or sweep after a crash, Ctrl-C, walltime
  status RUN_DIR                                        one-screen state of a running or finished study or sweep
  scale RUN_DIR max_jobs=N                              more or fewer solver jobs of a study that runs
  site [FILE]                                           write a first file of site settings, from what Slurm says
  check [OVERRIDES] [--config-dir DIR]                  run one simulation of the configured solver and check it
  doctor [OVERRIDES] [--config-dir DIR]                 look whether a study could run here, by small jobs
  native --source --cflags --libs ...                   what a compiler needs for a solver in C, C++ or Fortran

Overrides are Hydra's: melissa-like run study.num_simulations=20 buffer=fifo training.batch_size=32
`melissa-like run --help` explains every key, `melissa-like run --help GROUP` those of one group, `melissa-like run
--cfg job` prints the configuration.
"""
_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "resume": resume,
    "status": status,
    "scale": scale,
    "site": site,
    "check": check,
    "doctor": doctor,
}
#: Of the commands that do not take overrides of every key.
_USAGES: Mapping[str, Callable[[], str]] = {
    "resume": usage_of_resume,
    "scale": lambda: SCALE_USAGE,
    "site": lambda: SITE_USAGE,
}


def main() -> None:
    """Entry of the console script; leaves with an exit code."""
    open_standard_streams()
    with told_of_lost_output():
        _main(sys.argv[1:])


def _main(arguments: Sequence[str]) -> None:
    command = arguments[0] if arguments else "--help"
    if command in HELP:
        sys.stdout.write(_USAGE)
        sys.exit(0 if arguments else 2)
    if command not in _COMMANDS:
        known = [*_COMMANDS, "native"]  # which does not come here: it needs none of this
        near = did_you_mean(command, known) or f": write one of {', '.join(known)}"
        sys.stderr.write(f"melissa-like: unknown command {command!r}{near}\n{_USAGE}")
        sys.exit(2)
    refuse_unknown_options(arguments[1:])
    try:
        if command in _USAGES and any(word in arguments for word in HELP):
            sys.stdout.write(_USAGES[command]())
            sys.exit(0)
        if any(word in arguments for word in HELP):
            sys.exit(_help(arguments[1:]))
        sys.exit(_COMMANDS[command](arguments[1:]))
    except KeyboardInterrupt:  # while a study runs its own handler takes the signal
        sys.stderr.write("melissa-like: interrupted before anything was started\n")
        sys.exit(INTERRUPTED)


def _help(arguments: Sequence[str]) -> int:
    """The usage and every key, or those of the groups that are named."""
    from melissa_like.config.keys import groups
    from melissa_like.config.reference import as_text

    options, named = split([argument for argument in arguments if argument not in HELP])
    wanted = [re.split("[.=]", name)[0] for name in named]
    names = [group.name for group in groups() if group.name]
    for name in wanted:
        if name not in names:
            sys.stderr.write(f"melissa-like: {name!r} is no group: write one of {', '.join(names)}\n")
            return 2
    sys.stdout.write(
        "\n".join([*([] if wanted else [_USAGE]), *(as_text(name, config_folders(options)) for name in wanted or [""])])
    )
    return 0
