"""Callables as JSON: an import path and keyword arguments, with the keys of the YAML files; no pickle is needed.

`{"_target_": "melissa_like.models.mlp.MLP", "hidden": [256, 256]}` stands for `partial(MLP, hidden=[256, 256])`.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["callable_of", "recipe_of"]

_TARGET = "_target_"


def recipe_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The recipe of a function, a class, or a `functools.partial` of one with keyword arguments.

    Raises:
        TypeError: it cannot be imported under a name, or an argument that cannot be written as JSON.
    """
    function, options = target, {}
    if isinstance(target, functools.partial):
        if target.args:
            raise TypeError(f"{target} has positional arguments {target.args}: give keyword arguments only")
        function, options = target.func, target.keywords
    path = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    if function.__module__ == "__main__" or _resolved(path) is not function:
        raise TypeError(
            f"{function!r} cannot be imported as {path!r}, so whoever loads the surrogate could not build it again: "
            f"give a function or a class at the top of a module that is not the main script"
        )
    return {_TARGET: path} | {name: _written(name, value) for name, value in options.items()}


def callable_of(recipe: Mapping[str, Any]) -> Callable[..., Any]:
    """What `recipe_of` described. Imports the module that it names.

    Raises:
        ImportError: there is no such module or name here.
    """
    path = recipe[_TARGET]
    function = _resolved(path)
    if function is None:
        raise ImportError(f"{path!r} cannot be imported: install the package that the surrogate was trained with")
    options = {name: _read(value) for name, value in recipe.items() if name != _TARGET}
    return functools.partial(function, **options) if options else function


def _resolved(path: str) -> Callable[..., Any] | None:
    """The object under an import path, attributes of classes included; None if there is none."""
    names = path.split(".")
    for split in range(len(names) - 1, 0, -1):
        module = ".".join(names[:split])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
                continue
            raise
        for name in names[split:]:
            found = getattr(found, name, None)
        return found if callable(found) else None
    return None


def _written(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _written(name, item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_written(name, item) for item in value]
    if callable(value):
        return recipe_of(value)
    raise TypeError(
        f"the argument {name!r} is a {type(value).__name__}, which cannot be written as JSON: give numbers, text, "
        f"lists, mappings, or functions and classes that can be imported"
    )


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    if isinstance(value, dict):
        return callable_of(value) if _TARGET in value else {key: _read(item) for key, item in value.items()}
    return value
