"""What the studies of a sweep are: all composed before the first one runs, and kept for whoever goes on with the sweep.

`planned/N.yaml` is the configuration of study N as it was composed when the sweep began, so that neither a file that
was changed since nor another folder changes what its studies are.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.config.mistakes import explain
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.rundir import write_json

__all__ = ["keep_plan", "plan_of", "planned_config", "resolved", "started_in", "studies_at_a_time"]

_FOLDER = "planned"
_STARTED_FILE = "started.json"
_STARTED_IN = "working_directory"


def plan_of(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[dict[str, str]]:
    """The value of each swept key in each study, in the order in which they will run.

    Args:
        overrides: as they were given.
        loader: knows the files of the groups; only needed for `glob(...)`.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    (studies,) = BasicSweeper.split_arguments(parsed, None)
    pairs = [[line.partition("=")[::2] for line in study] for study in studies]
    return [{key.lstrip("+"): value for key, value in study if key in swept} for study in pairs]


def resolved(composed: DictConfig) -> DictConfig:
    """A configuration that stands for itself, without what composed it.

    Raises:
        ConfigurationError: something that it refers to is not there.
    """
    try:
        return cast(DictConfig, OmegaConf.create(OmegaConf.to_container(composed, resolve=True)))
    except OmegaConfBaseException as error:
        raise ConfigurationError(explain(error)) from None


def studies_at_a_time(first: DictConfig) -> int:
    """How many studies of a sweep run at once, by the configuration of its first one; what is no number it is told."""
    return max(1, int(OmegaConf.select(first, "launcher.max_studies", default=1)))


def keep_plan(folder: Path, configs: Sequence[DictConfig]) -> None:
    """Write what the studies of a sweep are, for its user's eyes only.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    below = folder / _FOLDER
    try:
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(below / _STARTED_FILE, {_STARTED_IN: os.getcwd()})
        for number, config in enumerate(configs):
            OmegaConf.save(config, below / f"{number}.yaml")
    except OSError as error:
        raise ConfigurationError(f"run_dir {folder} cannot be written: {error}") from None


def planned_config(folder: Path, number: int) -> DictConfig:
    """The configuration of a study as it was composed.

    Raises:
        ConfigurationError: it is not there.
    """
    path = folder / _FOLDER / f"{number}.yaml"
    try:
        return cast(DictConfig, OmegaConf.load(path))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}): the sweep cannot go on without it; resume the studies that have begun "
            "one by one"
        ) from None


def started_in(folder: Path) -> Path:
    """The folder where a sweep was started: relative paths in its configurations are meant from there."""
    try:
        return Path(msgspec.json.decode((folder / _FOLDER / _STARTED_FILE).read_bytes())[_STARTED_IN])
    except (OSError, msgspec.DecodeError, KeyError):
        return Path.cwd()
