"""From what Hydra composed, or a file holds, to plain dataclasses."""

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from melissa_like.config.mistakes import explain, refuse_unknown_keys, unknown_key
from melissa_like.config.schema import Config, FieldConfig, StaticConfig
from melissa_like.errors import ConfigurationError

__all__ = ["CONFIG_FILE", "as_config", "load_config"]

CONFIG_FILE = "config.yaml"

_Schema = TypeVar("_Schema", FieldConfig, StaticConfig)


def as_config(composed: Any) -> Config:
    """The plain dataclasses of a composed configuration, interpolations resolved.

    Raises:
        ConfigurationError: an unknown key, a value of the wrong type, or an interpolation of what is not there.
    """
    try:
        composed_keys = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(composed_keys, dict)
        refuse_unknown_keys(composed_keys)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))
        assert isinstance(config, Config)
        solver = config.solver
        solver.fields = _declared(FieldConfig, "solver.fields", solver.fields)
        solver.static = _declared(StaticConfig, "solver.static", solver.static)
    except OmegaConfBaseException as error:
        raise ConfigurationError(explain(error)) from None
    return config


def _declared(schema: type[_Schema], key: str, specs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _field(schema, f"{key}.{name}", spec) for name, spec in specs.items()}


def _field(schema: type[_Schema], key: str, spec: Any) -> _Schema:
    """The declaration of one field, whose key is given in full."""
    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"{key} is {spec!r}: write a mapping, {{shape: [64, 64]}}")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(spec)))
    except OmegaConfBaseException as error:
        known = [f"{key}.{declared.name}" for declared in dataclass_fields(schema)]
        full_key = f"{key}.{error.full_key}"
        if isinstance(error, ConfigKeyError | ConfigAttributeError):
            raise ConfigurationError(unknown_key(full_key, known)) from None
        raise ConfigurationError(explain(error, full_key)) from None
    assert isinstance(config, schema)
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
