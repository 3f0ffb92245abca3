"""The keys of the configuration as a list: name, meaning, unit, default, allowed values, read from the schema."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from melissa_like.config.limits import limits_of
from melissa_like.config.schema import Config, FieldConfig, StaticConfig

__all__ = ["CONFIGS", "Group", "Key", "choices_of", "groups", "schema_keys"]

#: The folder of the bundled groups.
CONFIGS = Path(__file__).parents[1] / "configs"
#: What is declared by name, and the keys of one.
_DECLARED: Mapping[str, type] = {"solver.fields": FieldConfig, "solver.static": StaticConfig}
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    Any: "a number or text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the configuration.

    Attributes:
        name: from the root, with dots.
        meaning: as the schema's docstring says.
        unit: of a number; empty if it has none.
        default: in YAML; that of the files which the default study is made of. Empty: it must be given.
        allowed: in words.
    """

    name: str
    meaning: str
    unit: str
    default: str
    allowed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The keys of one YAML group; the name is empty for those without one.

    Attributes:
        summary: what the group is for.
        default: its file in the default study.
    """

    name: str
    summary: str
    default: str
    keys: tuple[Key, ...]


@cache
def groups() -> tuple[Group, ...]:
    """All of them, in the order of the schema, those without a group first."""
    root = _loaded(CONFIGS / "config.yaml")
    chosen, hints, meanings = _default_choices(root), get_type_hints(Config), _meanings(Config)
    alone: list[Key] = []
    made: list[Group] = []
    for declared in fields(Config):
        name, choice = declared.name, chosen.get(declared.name, "")
        # A solver's file describes that solver: for another one the schema's defaults hold.
        given = _given(name, choice) if choice and name != "solver" else {}
        if is_dataclass(hints[name]):
            made.append(_group(name, hints[name], given, choice))
            continue
        key = _key("", declared, hints[name], meanings.get(name, ""), {name: given} if given else root)
        if choice:
            made.append(Group(name=name, summary="The keys depend on what is chosen.", default=choice, keys=(key,)))
        else:
            alone.append(key)
    return (Group(name="", summary="Keys of no group.", default="", keys=tuple(alone)), *made)


def schema_keys() -> tuple[str, ...]:
    """The full names of all keys that the schema declares, without those of a field."""
    of_a_field = tuple(f"{name}.NAME" for name in _DECLARED)
    return tuple(key.name for group in groups() for key in group.keys if not key.name.startswith(of_a_field))


def choices_of(group: str, folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """The files of a group, by the names that choose them.

    Args:
        group: its name.
        folders: configuration folders of the user's, looked into as well.
    """
    found = {file.stem for folder in (CONFIGS, *folders) for file in (folder / group).glob("*.yaml")}
    return tuple(sorted(found))


def _group(name: str, schema: type, given: Mapping[str, Any], choice: str) -> Group:
    hints, meanings = get_type_hints(schema), _meanings(schema)
    keys: list[Key] = []
    for declared in fields(schema):
        hint = hints[declared.name]
        if isinstance(hint, type) and is_dataclass(hint):
            keys += _group(f"{name}.{declared.name}", hint, given.get(declared.name, {}), "").keys
        else:
            keys.append(_key(name, declared, hint, meanings.get(declared.name, ""), given))
        if (full_name := f"{name}.{declared.name}") in _DECLARED:
            keys += _group(f"{full_name}.NAME", _DECLARED[full_name], {}, "").keys
    return Group(name=name, summary=cleandoc(schema.__doc__ or "").splitlines()[0], default=choice, keys=tuple(keys))


def _key(group: str, declared: Field[Any], hint: Any, meaning: str, given: Mapping[str, Any]) -> Key:
    limits = limits_of(declared)
    default = given.get(declared.name, _declared_default(declared))
    return Key(
        name=f"{group}.{declared.name}" if group else declared.name,
        meaning=meaning,
        unit=limits.unit,
        default="" if default == "???" else _as_yaml(default),
        allowed=_allowed(hint, limits.words, takes_null=_declared_default(declared) is None),
    )


def _declared_default(declared: Field[Any]) -> Any:
    return declared.default_factory() if declared.default_factory is not MISSING else declared.default


def _allowed(hint: Any, words: str, *, takes_null: bool) -> str:
    """From a type and its limits: "a whole number, 1 or more, or null"."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    plain = [get_origin(kind) or kind for kind in kinds if kind is not NoneType]
    said = " or ".join(_WORDS[kind] for kind in plain if kind in _WORDS)
    if words.startswith(("one of", "a number")):
        said = words
    elif words:
        said = f"{said}, {words}"
    return f"{said}, or null" if takes_null or NoneType in kinds else said


def _meanings(schema: type) -> dict[str, str]:
    """The lines under `Attributes:` of a docstring, by name."""
    _, _, section = cleandoc(schema.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif line.strip():
            found[name] += " " + line.strip()
    return found


def _default_choices(root: Mapping[str, Any]) -> dict[str, str]:
    """The file of each group in the default study."""
    entries = (entry for entry in root["defaults"] if isinstance(entry, dict))
    return {group: choice for entry in entries for group, choice in entry.items() if choice}


def _given(group: str, choice: str) -> dict[str, Any]:
    return _loaded(CONFIGS / group / f"{choice}.yaml")


def _loaded(file: Path) -> dict[str, Any]:
    loaded = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(loaded, dict)
    return {str(name): value for name, value in loaded.items()}


def _as_yaml(value: Any) -> str:
    """On one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_as_yaml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value) if value != "" else '""'
