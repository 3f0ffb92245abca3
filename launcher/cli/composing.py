"""The configuration of a command line, composed by Hydra."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from melissa_like.config import Config
from melissa_like.errors import MelissaLikeError
from melissa_like.launcher.cli.options import config_folders, split
from melissa_like.launcher.mistakes import explain_refusal
from melissa_like.launcher.streams import lost_output_passed_on

__all__ = ["compose", "compose_one"]

_RAISE = "HYDRA_FULL_ERROR"


def compose(task: Callable[[DictConfig], Any], arguments: Sequence[str]) -> None:
    """Compose the configuration as Hydra's command line does, and call the task once per study.

    Hydra prints a traceback for whatever mistake in an override it did not foresee, unless it is told to raise
    everything; so it is told to until the first task begins, and every such mistake becomes a message here.

    Args:
        task: of a sweep it is called for each study, before any of them runs.
        arguments: of the command.

    Raises:
        SystemExit: nothing could be composed; why was told.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    options, overrides = split(arguments)
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
        sys.stderr.write(f"melissa-like: {explain_refusal(error, config_folders(options))}\n")
        sys.exit(2)
    finally:
        _set_back(wanted_by_user)


def _set_back(value: str | None) -> None:
    if value is None:
        os.environ.pop(_RAISE, None)
    else:
        os.environ[_RAISE] = value


def compose_one(task: Callable[[DictConfig], int], arguments: Sequence[str]) -> int:
    """The exit code of a task that is called with a configuration; 2 if it raises what a user is told.

    Raises:
        SystemExit: nothing could be composed.
    """
    codes: list[int] = []

    def run(composed: DictConfig) -> None:
        try:
            codes.append(task(composed))
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            codes.append(2)

    compose(run, arguments)
    return max(codes, default=0)
