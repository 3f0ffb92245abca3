"""From windows to what is known of a simulation from its first time step on. Pure."""

from collections.abc import Sequence
from itertools import groupby

from melissa_like.records import Sample
from melissa_like.training.validation.extracts import HeldOutSample

__all__ = ["trajectories_of"]


def trajectories_of(windows: Sequence[HeldOutSample], stride: int, *, mixes: bool) -> list[HeldOutSample]:
    """One of each simulation: its time steps from the first on, as far as they follow one another.

    Windows of different attempts are not joined, unless they share a time step: then it came the same of both.

    Args:
        windows: by simulation and first step.
        stride: distance of the time steps of a window.
        mixes: windows of different attempts are joined all the same.
    """
    made = []
    for _, of_one in groupby(windows, key=lambda steps: steps[0].key.simulation):
        steps: list[Sample] = []
        for one in of_one:
            _go_on(steps, one, stride, mixes=mixes)
        if steps:
            made.append(tuple(steps))
    return made


def _go_on(steps: list[Sample], window: HeldOutSample, stride: int, *, mixes: bool) -> None:
    """Append what a window knows of the steps behind the last, if it belongs to them."""
    if not steps:
        if window[0].key.step == 0:
            steps += window
        return
    next_step = steps[-1].key.step + stride
    known = {step.key.step: step for step in window}
    if next_step not in known:
        return
    shared = known.get(steps[-1].key.step)
    same = shared is steps[-1] if shared is not None else known[next_step].attempt == steps[-1].attempt
    if same or mixes:
        steps += [step for step in window if step.key.step >= next_step]
