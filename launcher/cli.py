"""The command `melissa-like`."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from melissa_like.config import Config
from melissa_like.errors import ConfigurationError, MelissaLikeError

__all__ = ["main"]

_USAGE = """usage: melissa-like COMMAND ...

  run [OVERRIDES] [-m] [--dry-run] [--config-dir DIR]   run a study; -m sweeps over comma-separated values
  status RUN_DIR                                        one-screen state of a running or finished study
  check [OVERRIDES] [--config-dir DIR]                  run one simulation of the configured solver and check it

Overrides are Hydra's: melissa-like run study.num_simulations=20 buffer=fifo training.batch_size=32
`melissa-like run --help` lists the groups, `melissa-like run --cfg job` prints the configuration.
"""
_DRY_RUN = "--dry-run"
_INTERRUPTED = 130
_RAISE = "HYDRA_FULL_ERROR"
_OPTIONS_WITH_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"}


def main() -> None:
    """Entry of the console script; leaves with an exit code."""
    arguments = sys.argv[1:]
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        sys.stdout.write(_USAGE)
        sys.exit(0 if arguments else 2)
    commands = {"run": _run, "status": _status, "check": _check}
    if command not in commands:
        sys.stderr.write(f"melissa-like: unknown command {command!r}: write one of {', '.join(commands)}\n{_USAGE}")
        sys.exit(2)
    try:
        sys.exit(commands[command](arguments[1:]))
    except KeyboardInterrupt:  # while a study runs its own handler takes the signal
        sys.stderr.write("melissa-like: interrupted before anything was started\n")
        sys.exit(_INTERRUPTED)


def _run(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.run import plan_study, prepare, run_study
    from melissa_like.launcher.summary import print_report

    dry = _DRY_RUN in arguments
    codes: list[int] = []

    def task(composed: DictConfig) -> dict[str, Any] | None:
        run_dir = _place(composed)
        composed.run_dir = str(run_dir)
        try:
            if dry:
                config, _ = prepare(composed)
                sys.stdout.write("\n".join(plan_study(config, run_dir)) + "\n")
                return None
            report = run_study(composed, run_dir)
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            codes.append(2)
            return None
        finally:
            with suppress(OSError):
                run_dir.rmdir()  # a sweep makes the folder even for a study that is refused; one in use is not empty
        print_report(report, run_dir)
        if report["reason"].startswith("interrupted"):
            sys.exit(_INTERRUPTED)  # a sweep ends as well
        codes.append(1 if report["outcome"] == "failed" else 0)
        return report

    _hydra(task, [a for a in arguments if a != _DRY_RUN])
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


def _status(arguments: Sequence[str]) -> int:
    from melissa_like.launcher.summary import print_status

    if len(arguments) != 1:
        sys.stderr.write("usage: melissa-like status RUN_DIR\n")
        return 2
    try:
        print_status(Path(arguments[0]))
    except ConfigurationError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    return 0


def _hydra(task: Any, overrides: Sequence[str]) -> None:
    """Compose the configuration as Hydra's command line does, and call the task once per study.

    Hydra prints a traceback for whatever mistake in an override it did not foresee, unless it is told to raise
    everything; so it is told to until the first task begins, and every such mistake becomes a message here.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    sys.argv = ["melissa-like run", *_options_first(overrides)]
    wanted_by_user = os.environ.get(_RAISE)
    os.environ[_RAISE] = "1"
    composing = True

    def begin(composed: DictConfig) -> Any:
        nonlocal composing
        if composing:
            composing = False
            _set_back(wanted_by_user)  # not for the jobs that the task starts
        return task(composed)

    try:
        hydra.main(version_base="1.3", config_path="pkg://melissa_like.configs", config_name="config")(begin)()
    except Exception as error:
        if not composing or wanted_by_user:
            raise
        reasons = dict.fromkeys(str(e) for e in (error, error.__cause__) if e is not None)
        sys.stderr.write("melissa-like: " + "\n".join(reasons) + "\n")
        sys.exit(2)
    finally:
        _set_back(wanted_by_user)


def _set_back(value: str | None) -> None:
    if value is None:
        os.environ.pop(_RAISE, None)
    else:
        os.environ[_RAISE] = value


def _place(composed: DictConfig) -> Path:
    """Where the study lives: its run directory, in a sweep a numbered folder below."""
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    return Path(hydra_config.runtime.output_dir if sweeping else composed.run_dir).resolve()


def _options_first(arguments: Sequence[str]) -> list[str]:
    """Options and overrides in any order: Hydra's parser wants the overrides in one piece."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        options.append(argument)
        if argument in _OPTIONS_WITH_VALUE:
            options += [value for value in (next(rest, None),) if value is not None]
    return options + overrides
