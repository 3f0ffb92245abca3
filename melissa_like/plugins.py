"""Whatever is plugged in is named by an import path; here is the one place that follows it.

In YAML a plug-in is a mapping: its import path under `_target_`, its keyword arguments as the other keys. An argument
that is such a mapping itself is made first (called, unless it says `_partial_: true`). `factory_of` gives the callable
with its arguments bound, `make` calls it, `recipe_of` writes a callable as such a mapping again, so that what was
trained can be built anew; nothing is pickled. A client uses this too: only the standard library is imported.

Modules of the folder where a user works are found last (`look_in`), behind the standard library and what is installed:
a file `signal.py` or `numpy.py` there must not take the place of what everything else imports. One exception: a plug-in
named after a module of the standard library that this process does not use (`wave.py`) is the user's.
"""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from melissa_like.errors import ConfigurationError

__all__ = ["accepted_settings", "factory_of", "locate", "look_in", "make", "nearest", "recipe_of"]

_TARGET, _PARTIAL = "_target_", "_partial_"
#: Where users work: what `look_in` was called with.
_own_folders: list[str] = []


def look_in(folder: Path) -> None:
    """From now on modules of this folder are found too, behind the standard library and what is installed.

    `python -m` and PYTHONPATH may have put it in front: it is moved.
    """
    path = str(folder)
    sys.path[:] = [entry for entry in sys.path if entry not in ("", path)] + [path]
    if path not in _own_folders:
        _own_folders.append(path)


def locate(path: str, key: str) -> Any:
    """The object under an import path, attributes of classes included.

    Args:
        path: `package.module.name`; modules are looked for in PYTHONPATH and in the folder where the study was started.
        key: the setting that names it, for the message.

    Raises:
        ConfigurationError: there is no such module or name, or the module raises while it is imported.
    """
    names = path.split(".")
    if not all(name.isidentifier() for name in names):
        raise ConfigurationError(
            f"{key} is {path!r}, which is not an import path: write package.module.name, as in melissa_like.models.MLP"
        )
    for split in range(len(names) - 1, 0, -1):
        module = ".".join(names[:split])
        try:
            found = _import(module)
        except SystemExit as error:
            raise ConfigurationError(
                f"{key} is {path!r}, but {module} ends the program when it is imported (sys.exit({error.code!r})): put "
                'what it does as a program, such as reading its arguments, behind if __name__ == "__main__"'
            ) from error
        except Exception as error:  # the module is the user's: whatever it raises
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing is not None and split > 1 and (module == missing or module.startswith(missing + ".")):
                continue
            hidden = _hidden_by(error.name) if isinstance(error, ImportError) and error.name else ""
            raise ConfigurationError(
                f"{key} is {path!r}, which cannot be imported ({type(error).__name__}: {error}){hidden}: write an "
                "import path; modules are looked for in the folder where melissa-like was started and in PYTHONPATH"
            ) from error
        for position, name in enumerate(names[split:], start=split):
            if not hasattr(found, name):
                raise ConfigurationError(
                    f"{key} is {path!r}, which cannot be imported: {'.'.join(names[:position])} has no {name!r}"
                    f"{_hidden_by(names[0]) or nearest(name, _names_in(found))}"
                )
            found = getattr(found, name)
        return found
    raise ConfigurationError(f"{key} is {path!r}, which names no module: write package.module.name")


def _import(module: str) -> ModuleType:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and top not in sys.modules:
        own = _own_spec(top)
        if own is not None and own.loader is not None:
            made = sys.modules[top] = importlib.util.module_from_spec(own)
            try:
                own.loader.exec_module(made)
            except BaseException:
                del sys.modules[top]
                raise
    return importlib.import_module(module)


def _own_spec(name: str) -> ModuleSpec | None:
    """What a module of the user's is loaded from, if there is a file for it."""
    spec = PathFinder.find_spec(name, _own_folders)
    return spec if spec is not None and spec.has_location else None


def _hidden_by(module: str) -> str:
    """For a message: the user's file that was not taken, because another has its name."""
    top = module.partition(".")[0]
    own, taken = _own_spec(top), getattr(sys.modules.get(top), "__file__", "a module of Python itself")
    if own is None or own.origin == taken:
        return ""
    return f"; {taken} was taken, and {own.origin}, which has the same name, was not: rename your file"


def factory_of(target: Any, key: str) -> Callable[..., Any]:
    """What a mapping with `_target_` stands for, its other keys bound as keyword arguments; nothing is called yet.

    Raises:
        ConfigurationError: not such a mapping, an import path that leads nowhere or to something that is not called, or
            an argument that it does not take.
    """
    if not isinstance(target, Mapping) or not isinstance(target.get(_TARGET), str):
        raise ConfigurationError(f"{key} is {target!r}: write a mapping with an import path under {_TARGET}")
    function = locate(target[_TARGET], key)
    if not callable(function):
        raise ConfigurationError(
            f"{key} is {target[_TARGET]!r}, which is a {type(function).__name__}: name a function or a class"
        )
    given = {str(name): value for name, value in target.items() if name not in (_TARGET, _PARTIAL)}
    _refuse_unknown(given, function, target[_TARGET], key)
    options = {name: _argument(value, f"{key}.{name}") for name, value in given.items()}
    return functools.partial(function, **options) if options else function


def make(target: Any, key: str, **arguments: Any) -> Any:
    """Call what a mapping with `_target_` stands for; with `_partial_: true` in it, only bind its arguments.

    Raises:
        ConfigurationError: as `factory_of`, or the call raised; the message says what.
    """
    factory = factory_of(target, key)
    if target.get(_PARTIAL):
        return functools.partial(factory, **arguments) if arguments else factory
    try:
        return factory(**arguments)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{key} cannot be made from {target[_TARGET]!r}: {type(error).__name__}: {error}"
        ) from error


def accepted_settings(function: Callable[..., Any]) -> frozenset[str] | None:
    """The keyword arguments that a callable takes; None if it takes any, or does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a compiled function need not tell
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; empty if nothing is near."""
    import difflib  # not for whoever makes no mistake

    found = difflib.get_close_matches(name, sorted(known), n=3)
    return f" (the nearest: {', '.join(found)})" if found else ""


def recipe_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The mapping of a function, a class, or a `functools.partial` of one with keyword arguments.

    Raises:
        TypeError: it cannot be imported under a name, or has an argument that cannot be written as JSON.
    """
    options: Mapping[str, Any] = {}
    function = target
    while isinstance(function, functools.partial):
        if function.args:
            raise TypeError(f"{function} has positional arguments {function.args}: give keyword arguments only")
        options = {**function.keywords, **options}
        function = function.func
    path = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    if function.__module__ == "__main__" or _found(path) is not function:
        raise TypeError(
            f"{function!r} cannot be imported as {path!r}, so whoever loads what is saved could not build it again: "
            f"give a function or a class at the top of a module that is not the main script"
        )
    return {_TARGET: path} | {name: _written(name, value) for name, value in options.items()}


def _found(path: str) -> Any:
    try:
        return locate(path, "it")
    except ConfigurationError:
        return None


def _refuse_unknown(given: Iterable[str], function: Callable[..., Any], path: str, key: str) -> None:
    accepted = accepted_settings(function)
    unknown = [] if accepted is None else [name for name in given if name not in accepted]
    if accepted is not None and unknown:
        raise ConfigurationError(
            f"{key} has the options {', '.join(unknown)} but {path} takes none of that name: it takes "
            f"{', '.join(sorted(accepted)) or 'no options'}{nearest(unknown[0], accepted)}"
        )


def _names_in(found: Any) -> set[str]:
    """Public attributes of an object; of a package its modules too, imported or not."""
    names = {name for name in dir(found) if not name.startswith("_")}
    return names | {module.name for module in pkgutil.iter_modules(getattr(found, "__path__", ()))}


def _argument(value: Any, key: str) -> Any:
    """An argument as it is passed: mappings that name a plug-in are made, everything else is plain."""
    if isinstance(value, Mapping):
        if _TARGET in value:
            return make(value, key)
        return {name: _argument(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_argument(item, f"{key}[{index}]") for index, item in enumerate(value)]
    return value


def _written(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _written(name, item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_written(name, item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return recipe_of(functools.partial(type(value), **settings))
    if callable(value) and (hasattr(value, "__qualname__") or isinstance(value, functools.partial)):
        return {**recipe_of(value), _PARTIAL: True}
    raise TypeError(
        f"the argument {name!r} is a {type(value).__name__}, which cannot be written as JSON: give numbers, text, "
        f"lists, mappings, objects of a dataclass, or functions and classes that can be imported"
    )
