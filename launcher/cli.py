"""The command `melissa-like`."""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from melissa_like.config import Config
from melissa_like.config.mistakes import did_you_mean
from melissa_like.errors import ConfigurationError, MelissaLikeError
from melissa_like.launcher.exit_codes import INTERRUPTED, OUT_OF_TIME
from melissa_like.launcher.mistakes import explain_refusal
from melissa_like.launcher.scale import SCALE_USAGE, scale
from melissa_like.launcher.site import SITE_USAGE, site
from melissa_like.launcher.streams import lost_output_passed_on, open_standard_streams, told_of_lost_output

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

Overrides are Hydra's: melissa-like run study.num_simulations=20 buffer=fifo training.batch_size=32
`melissa-like run --help` explains every key, `melissa-like run --help GROUP` those of one group, `melissa-like run
--cfg job` prints the configuration.
"""
_RESUME = """usage: melissa-like resume RUN_DIR [KEY=VALUE ...]

Goes on with the study in RUN_DIR, however it ended: killed, interrupted, out of time, failed. What still runs of it is
ended first; then the server ranks load the newest checkpoint, and what it lacks is produced again. A study that has
completed goes on if more simulations are asked for.

  melissa-like resume runs/heat
  melissa-like resume runs/heat launcher.walltime=2:00:00 study.num_simulations=500 launcher.num_server_ranks=2

Of a sweep's folder, the studies that did not run or were interrupted are run, and the others stay as they are.

These keys may change, with all below them:
{may_change}
(transport.routing may not, and study.num_simulations upwards only). Anything else is refused with the reason.

Exit codes: 0 the study has ended in order, 1 it failed, 2 it was not resumed, {out_of_time} out of time
(launcher.walltime), {interrupted} interrupted.
"""
_HELP = ("--help", "-h")
_DRY_RUN = "--dry-run"
_WRITE_SCRIPT = "--write-script"
_RAISE = "HYDRA_FULL_ERROR"
_CONFIG_DIR = {"--config-dir", "-cd"}
_CONFIG_NAME = {"--config-name", "-cn", "--config-path", "-cp"}
_SHOW = {"--cfg", "-c", "--package", "-p", "--experimental-rerun"}
_INFO = {"--info", "-i"}
_INFO_KINDS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
_OPTIONS_WITH_VALUE = _CONFIG_DIR | _CONFIG_NAME | _SHOW
_PLAIN_OPTIONS = {
    "--multirun",
    "-m",
    "--run",
    "-r",
    "--resolve",
    "--hydra-help",
    "--version",
    "--shell-completion",
    "-sc",
}
_OPTIONS = _OPTIONS_WITH_VALUE | _INFO | _PLAIN_OPTIONS | {_DRY_RUN, _WRITE_SCRIPT, *_HELP}


def main() -> None:
    """Entry of the console script; leaves with an exit code."""
    open_standard_streams()
    with told_of_lost_output():
        _main(sys.argv[1:])


def _main(arguments: Sequence[str]) -> None:
    command = arguments[0] if arguments else "--help"
    if command in _HELP:
        sys.stdout.write(_USAGE)
        sys.exit(0 if arguments else 2)
    commands = {
        "run": _run,
        "resume": _resume,
        "status": _status,
        "scale": scale,
        "site": site,
        "check": _check,
        "doctor": _doctor,
    }
    usages: dict[str, Callable[[], str]] = {
        "resume": _usage_of_resume,
        "scale": lambda: SCALE_USAGE,
        "site": lambda: SITE_USAGE,
    }
    if command not in commands:
        near = did_you_mean(command, commands) or f": write one of {', '.join(commands)}"
        sys.stderr.write(f"melissa-like: unknown command {command!r}{near}\n{_USAGE}")
        sys.exit(2)
    _refuse_unknown_options(arguments[1:])
    try:
        if command in usages and any(word in arguments for word in _HELP):
            sys.stdout.write(usages[command]())
            sys.exit(0)
        if any(word in arguments for word in _HELP):
            sys.exit(_help(arguments[1:]))
        sys.exit(commands[command](arguments[1:]))
    except KeyboardInterrupt:  # while a study runs its own handler takes the signal
        sys.stderr.write("melissa-like: interrupted before anything was started\n")
        sys.exit(INTERRUPTED)


def _refuse_unknown_options(arguments: Sequence[str]) -> None:
    for option in _split(arguments)[0]:
        name = option.partition("=")[0]
        if name.startswith("-") and name not in _OPTIONS:
            near = did_you_mean(name, _OPTIONS) or f": write one of {', '.join(sorted(_OPTIONS))}"
            sys.stderr.write(f"melissa-like: unknown option {name!r}{near}\n")
            sys.exit(2)


def _help(arguments: Sequence[str]) -> int:
    """The usage and every key, or those of the groups that are named."""
    from melissa_like.config.keys import groups
    from melissa_like.config.reference import as_text

    options, named = _split([argument for argument in arguments if argument not in _HELP])
    wanted = [re.split("[.=]", name)[0] for name in named]
    names = [group.name for group in groups() if group.name]
    for name in wanted:
        if name not in names:
            sys.stderr.write(f"melissa-like: {name!r} is no group: write one of {', '.join(names)}\n")
            return 2
    sys.stdout.write(
        "\n".join([*([] if wanted else [_USAGE]), *(as_text(name, _folders(options)) for name in wanted or [""])])
    )
    return 0


def _run(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.runs import Runs, new_folders

    if any(argument.partition("=")[0] == _WRITE_SCRIPT for argument in arguments):
        return _write_script(arguments)
    plain, dry = [argument for argument in arguments if argument != _DRY_RUN], _DRY_RUN in arguments
    options, overrides = _split(plain)
    only_shows = any(option.partition("=")[0] in _SHOW | _INFO for option in options)
    runs = Runs(overrides, dry=dry)
    with new_folders(make=not dry and not only_shows):
        try:
            _hydra(runs.run, plain)
            runs.finish()
        finally:
            runs.close()
    return runs.code


def _write_script(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.runs import new_folders
    from melissa_like.launcher.write_script import DEFAULT_FILE, inside_allocation, write_script

    file, plain = _take_value(_WRITE_SCRIPT, arguments)
    if refused := {"-m", "--multirun", _DRY_RUN} & set(plain):
        sys.stderr.write(f"melissa-like: {_WRITE_SCRIPT} writes the script of one study: leave out {min(refused)}\n")
        return 2
    options, overrides = _split(plain)
    words = [*options, *inside_allocation(overrides)]
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        try:
            sys.stdout.write(write_script(composed, words, Path(file or DEFAULT_FILE)) + "\n")
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            codes.append(2)

    with new_folders(make=False):
        _hydra(task, words)
    return max(codes, default=0)


def _check(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.check import check_solver

    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        try:
            codes.append(check_solver(composed))
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            codes.append(2)

    _hydra(task, [*arguments, "run_dir=."])
    return max(codes, default=0)


def _doctor(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.doctor.examination import examine
    from melissa_like.launcher.runs import new_folders

    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        try:
            codes.append(examine(composed))
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            codes.append(2)

    with new_folders(make=False):
        _hydra(task, arguments)
    return max(codes, default=0)


def _usage_of_resume() -> str:
    from melissa_like.config.changes import MAY_CHANGE

    may_change = textwrap.fill(", ".join(MAY_CHANGE), 100, initial_indent="  ", subsequent_indent="  ")
    return _RESUME.format(may_change=may_change, out_of_time=OUT_OF_TIME, interrupted=INTERRUPTED)


def _resume(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.requeueing import run_again
    from melissa_like.launcher.resume import resume_study
    from melissa_like.launcher.summary import exit_code, print_report
    from melissa_like.launcher.sweep_file import SWEEP_FILE
    from melissa_like.launcher.sweep_resume import note_resumed, resume_sweep

    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        sys.stderr.write(_usage_of_resume())
        return 2
    run_dir = Path(arguments[0]).resolve()

    def tell(text: str) -> None:
        sys.stderr.write(f"melissa-like: {text}\n")

    try:
        if (run_dir / SWEEP_FILE).exists():
            return resume_sweep(run_dir, arguments[1:], tell)
        report = resume_study(run_dir, arguments[1:], tell)
        if report is not None:
            note_resumed(run_dir, report)
    except MelissaLikeError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    if report is None:
        sys.stdout.write(f"{run_dir}: the study has completed: ask for more with study.num_simulations=N to go on\n")
        return 0
    print_report(report, run_dir)
    run_again(report, run_dir, tell)
    return exit_code(report)


def _status(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.summary import print_status
    from melissa_like.launcher.sweep_file import SWEEP_FILE
    from melissa_like.launcher.sweep_status import print_sweep_status

    if len(arguments) != 1:
        sys.stderr.write("usage: melissa-like status RUN_DIR\n")
        return 2
    folder = Path(arguments[0])
    try:
        if (folder / SWEEP_FILE).exists():
            print_sweep_status(folder)
        else:
            print_status(folder)
    except ConfigurationError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    return 0


def _hydra(task: Any, arguments: Sequence[str]) -> None:
    """Compose the configuration as Hydra's command line does, and call the task once per study.

    Hydra prints a traceback for whatever mistake in an override it did not foresee, unless it is told to raise
    everything; so it is told to until the first task begins, and every such mistake becomes a message here.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    options, overrides = _split(arguments)
    sys.argv = ["melissa-like run", *options, *overrides]  # Hydra's parser wants the overrides in one piece
    wanted_by_user = os.environ.get(_RAISE)
    os.environ[_RAISE] = "1"
    composing = True

    def begin(composed: DictConfig) -> Any:
        nonlocal composing
        if composing and HydraConfig.get().mode is not RunMode.MULTIRUN:  # of a sweep the others are not composed yet
            composing = False
            _set_back(wanted_by_user)  # not for the jobs that the task starts
        with lost_output_passed_on():
            return task(composed)

    try:
        hydra.main(version_base="1.3", config_path="pkg://melissa_like.configs", config_name="config")(begin)()
    except Exception as error:
        if not composing or wanted_by_user:
            raise
        sys.stderr.write(f"melissa-like: {explain_refusal(error, _folders(options))}\n")
        sys.exit(2)
    finally:
        _set_back(wanted_by_user)


def _set_back(value: str | None) -> None:
    if value is None:
        os.environ.pop(_RAISE, None)
    else:
        os.environ[_RAISE] = value


def _folders(options: Sequence[str]) -> list[Path]:
    """The user's configuration folder, if there is one."""
    spaced = [word for option in options for word in option.split("=", 1)]
    return [Path(value) for option, value in pairwise(spaced) if option in _CONFIG_DIR]


def _take_value(option: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The value that may follow an option, and the arguments without both; what looks like an override is none."""
    before = list(arguments)
    at = next(place for place, word in enumerate(before) if word.partition("=")[0] == option)
    _, _, value = before[at].partition("=")
    following = before[at + 1 : at + 2]
    if not value and following and "=" not in following[0] and not following[0].startswith("-"):
        return following[0], before[:at] + before[at + 2 :]
    return value, before[:at] + before[at + 1 :]


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options with their values, and overrides; they may come in any order."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(zip_longest(arguments, arguments[1:], fillvalue=""))
    for argument, value in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        if argument in _INFO and value not in _INFO_KINDS:
            options.append("--info=all")
        elif argument in _OPTIONS_WITH_VALUE | _INFO and value:
            options += [argument, value]
            next(rest)
        else:
            options.append(argument)
    return options, overrides
