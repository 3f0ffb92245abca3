"""From what Hydra composed, or a file holds, to plain dataclasses."""

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from melissa_like.config.mistakes import explain, refuse_unknown_keys, unknown_key
from melissa_like.config.schema import Config, FieldConfig
from melissa_like.errors import ConfigurationError

__all__ = ["CONFIG_FILE", "as_config", "load_config"]

CONFIG_FILE = "config.yaml"


def as_config(composed: Any) -> Config:
    """The plain dataclasses of a composed configuration, interpolations resolved.

    Raises:
        ConfigurationError: an unknown key, a value of the wrong type, or an interpolation of what is not there.
    """
    try:
        given = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(given, dict)
        refuse_unknown_keys(given)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))
        assert isinstance(config, Config)
        config.solver.fields = {name: _field(name, spec) for name, spec in config.solver.fields.items()}
    except OmegaConfBaseException as error:
        raise ConfigurationError(explain(error)) from None
    return config


def _field(name: str, spec: Any) -> FieldConfig:
    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"solver.fields.{name} is {spec!r}: write a mapping, {{shape: [64, 64]}}")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(FieldConfig), dict(spec)))
    except OmegaConfBaseException as error:
        known = [f"solver.fields.{name}.{key.name}" for key in dataclass_fields(FieldConfig)]
        full_key = f"solver.fields.{name}.{error.full_key}"
        if isinstance(error, ConfigKeyError | ConfigAttributeError):
            raise ConfigurationError(unknown_key(full_key, known)) from None
        raise ConfigurationError(explain(error, full_key)) from None
    assert isinstance(config, FieldConfig)
    return config


def load_config(run_dir: Path) -> Config:
    """The resolved configuration of a study.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        loaded = OmegaConf.load(run_dir / CONFIG_FILE)
    except OSError as error:
        raise ConfigurationError(f"{run_dir / CONFIG_FILE} cannot be read ({error}): name a study") from None
    return as_config(loaded)
