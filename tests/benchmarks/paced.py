"""A production and a training that are as slow as is asked: what a larger solver or network would be."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from melissa_like.plugins import locate

__all__ = ["paced"]


def paced(parameters: Mapping[str, float], comm: Any, *, solve: str, rate: float, **options: Any) -> Iterator[Any]:
    """A solver's time steps, at most so many per second.

    Args:
        parameters: of the simulation.
        comm: of the job.
        solve: import path of the solver.
        rate: time steps per second.
        options: of the solver.
    """
    due = time.monotonic()
    for item in locate(solve, "solver.solve.solve")(parameters, comm, **options):
        due += 1.0 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield item
