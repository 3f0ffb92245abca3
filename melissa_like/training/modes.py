"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, afterwards in the mode it had: dropout and batch statistics stand still."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
