"""Libraries that only some readers need."""

from importlib import import_module
from typing import Any

from melissa_like.errors import ConfigurationError

__all__ = ["library"]


def library(name: str, reader: str) -> Any:
    """A library of the extra `readers`; loaded when a reader begins to read, and not before.

    Args:
        name: of the package.
        reader: that needs it.

    Raises:
        ConfigurationError: it is not installed where the follower runs.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigurationError(
            f"the reader {reader} needs the package {name}, which is not installed here: pip install {name}, or "
            "'melissa-like[readers]' for all readers"
        ) from None
