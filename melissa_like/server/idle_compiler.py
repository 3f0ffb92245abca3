"""Training without loading torch's compiler, where nothing is compiled.

An optimizer of torch imports `torch._dynamo` at its first step, only to tell it to keep out of the step. That import
takes as long as everything else that a server rank does before it is ready, and the solvers wait for it. So until
somebody asks for more, a small module stands in its place that has just these two words.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

__all__ = ["leave_compiler_unloaded"]

_NAME = "torch._dynamo"


def leave_compiler_unloaded() -> None:
    """Let optimizers do without torch's compiler; whoever needs it otherwise loads it as usual, by using it."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Unloaded(_NAME)


class _Unloaded(ModuleType):
    """`torch._dynamo` until more of it is needed than to be told to keep out."""

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Nothing is compiled, so there is no graph to break."""

    @staticmethod
    def disable(fn: Callable[..., Any], recursive: bool = True, **options: Any) -> Callable[..., Any]:
        """Nothing is compiled, so the function may stay as it is."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME], torch._dynamo
            torch._dynamo = importlib.import_module(_NAME)
        return getattr(sys.modules[_NAME], name)
