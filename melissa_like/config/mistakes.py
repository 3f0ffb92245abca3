"""What is wrong with a configuration, in one sentence: the key, what was received, what to write instead."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import SequenceMatcher
from typing import Any, get_type_hints

from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from melissa_like.config.keys import groups, schema_keys
from melissa_like.config.schema import Config
from melissa_like.errors import ConfigurationError

__all__ = ["did_you_mean", "explain", "nearest", "refuse_unknown_keys", "unknown_key"]

_NEAR = 0.75
_NUM_NEAR = 3
_ABBREVIATED = 4
_A_LIST = "Cannot merge DictConfig with ListConfig"
_MORE = "(`melissa-like run --help` explains all keys)"


def nearest(name: str, valid: Iterable[str]) -> list[str]:
    """The names that were perhaps meant, the likeliest first; a key in the wrong group is found by its last part."""
    scored = {known: _likeness(name, known) for known in valid if known != name}
    return sorted((known for known in scored if scored[known] >= _NEAR), key=lambda known: -scored[known])[:_NUM_NEAR]


def _likeness(name: str, known: str) -> float:
    above, _, last = name.rpartition(".")
    known_above, _, known_last = known.rpartition(".")
    likeness = SequenceMatcher(None, last, known_last).ratio()
    if len(last) >= _ABBREVIATED and known_last.startswith(last):
        likeness = max(likeness, _NEAR)
    if above == known_above:
        return likeness
    # In another group it counts a little less, and the likeness of the groups decides between equals.
    return 0.95 * likeness + 0.04 * SequenceMatcher(None, above, known_above).ratio()


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """What follows the statement that a name is none: the near names as a question, or nothing if nothing is near."""
    near = nearest(name, valid)
    return f": did you mean {' or '.join(near)}?" if near else ""


def unknown_key(key: str, beside: Sequence[str] | None = None) -> str:
    """The sentence about a key that does not exist.

    Args:
        key: in full, as it was written.
        beside: the keys that are there, in full, if the mapping takes any: arguments of what is plugged in.
    """
    names = [group.name for group in groups() if group.name]
    valid = [*(beside or ()), *schema_keys(), *names]
    is_of_a_field = beside and beside[0].rpartition(".")[0] == key.rpartition(".")[0] and _in_schema(key) != key
    if is_of_a_field and _in_schema(key) in {known.name for group in groups() for known in group.keys}:
        return f"{key} is not set so far: write +{key}=... on the command line, or put it into the file of the solver"
    said = f"{key} is no key of the configuration"
    found, rest = key, ""
    while found and found not in valid:
        if near := nearest(found, valid):
            return f"{said}: did you mean {' or '.join(name + rest for name in near)}? {_MORE}"
        found, dot, last = found.rpartition(".")
        rest = f"{dot}{last}{rest}"
    if beside is not None:
        return f"{said}: the keys beside it are {', '.join(beside) or 'none'}; write +{key}=... to add one"
    there = [name for name in schema_keys() if name.startswith(f"{key.partition('.')[0]}.")]
    return f"{said}: {'there are' if there else 'the groups are'} {', '.join(there or names)} {_MORE}"


def refuse_unknown_keys(composed: Mapping[Any, Any]) -> None:
    """Refuse keys that are not in the schema: those that Hydra lets in with a plus would be ignored.

    Raises:
        ConfigurationError: it names the first one.
    """
    _refuse_unknown("", Config, composed)


def _refuse_unknown(prefix: str, schema: type, settings: Mapping[Any, Any]) -> None:
    hints = get_type_hints(schema)
    for name, value in settings.items():
        if name not in hints:
            raise ConfigurationError(unknown_key(_as_written(f"{prefix}{name}", value)))
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
            _refuse_unknown(f"{prefix}{name}.", hint, value)


def _as_written(key: str, value: Any) -> str:
    """In full: a mapping of one key stands for a dotted name."""
    while isinstance(value, Mapping) and len(value) == 1:
        ((last, value),) = value.items()
        key = f"{key}.{last}"
    return key


def explain(error: OmegaConfBaseException, key: str | None = None) -> str:
    """The sentence about what OmegaConf refused.

    Args:
        error: what it raised.
        key: in full, where more is known of it than OmegaConf tells.
    """
    name = key or error.full_key or ""
    said = str(error.msg or error).partition("\n")[0]
    if said.startswith(_A_LIST):
        instead = f"write {{KEY: VALUE}}, or each key by itself, {name}.KEY=VALUE"
        return f"{name} is a list, where a mapping is needed: {instead}"
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return unknown_key(name, _beside(error))
    if isinstance(error, InterpolationToMissingValueError):
        name = said.rpartition(" ")[2]
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError):
        return f"{name} has no value: write {name}=..., or choose another file of its group"
    if isinstance(error, InterpolationResolutionError):
        return f"{name}: {said}{did_you_mean(_quoted(said), schema_keys())}"
    allowed = {known.name: known.allowed for group in groups() for known in group.keys}.get(_in_schema(name))
    if isinstance(error, ValidationError) and allowed:
        return f"{name}: {said}: write {allowed}"
    return f"{name}: {said}" if name else said


def _beside(error: OmegaConfBaseException) -> list[str] | None:
    """The keys of a mapping that takes any key; None for a group, whose keys are those of the schema."""
    parent, above = error.parent_node, (error.full_key or "").removesuffix(str(error.key))
    if not isinstance(parent, DictConfig) or not above or is_dataclass(error.object_type):
        return None
    return [f"{above}{name!s}" for name in parent]


def _quoted(text: str) -> str:
    return text.partition("'")[2].partition("'")[0]


def _in_schema(name: str) -> str:
    """A field's key under the name that the reference has for it."""
    parts = name.split(".")
    is_of_a_field = parts[:2] in (["solver", "fields"], ["solver", "static"])
    return ".".join([*parts[:2], "NAME", *parts[3:]]) if is_of_a_field else name
