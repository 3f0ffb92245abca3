"""A production and a training that are as slow as is asked: what a larger solver or network would be."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from melissa_like.plugins import locate

if TYPE_CHECKING:
    from torch import nn

    from melissa_like.training import TrainingStream

__all__ = ["paced", "train_paced"]


def paced(parameters: Mapping[str, float], comm: Any, *, solve: str, rate: float, **options: Any) -> Iterator[Any]:
    """A solver's time steps, at most so many per second.

    Args:
        parameters: of the simulation.
        comm: of the job.
        solve: import path of the solver.
        rate: time steps per second.
        options: of the solver.
    """
    return _evenly(locate(solve, "solver.solve.solve")(parameters, comm, **options), rate)


def train_paced(stream: "TrainingStream", *, rate: float) -> "nn.Module":
    """Our loop, with at most so many training steps per second."""
    from melissa_like.training import train  # a solver job imports this module, and needs no torch

    stream.turns = _evenly(stream.turns, rate)
    return train(stream)


def _evenly(items: Iterable[Any], rate: float) -> Iterator[Any]:
    """Each at its time; who is late does not catch up."""
    due = time.monotonic()
    for item in items:
        due = max(due + 1.0 / rate, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        yield item
