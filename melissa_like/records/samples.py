"""What is learned from: a complete sample on its way, and how samples are made of the steps of a simulation.

A sample is one time step, or a window of several. The books of a study (expected, delivered, given up, lost) count
samples, so what a sample needs is known to the launcher, the receivers and the training alike.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy.typing as npt

from melissa_like.records.ids import Purpose, SampleKey
from melissa_like.records.layout import FloatArray
from melissa_like.records.ranges import Ranges
from melissa_like.records.static import StaticFields

__all__ = [
    "FormedWindows",
    "Sample",
    "Window",
    "missing_steps",
    "num_samples",
    "num_steps_in_no_window",
    "steps_not_needed",
]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of several time steps of one simulation: *length* of them, *stride* apart.

    Its key names its first step; the windows of a simulation begin at the steps 0, *hop*, 2 · *hop*, ...

    Raises:
        ValueError: a number below 1.
    """

    length: int
    stride: int = 1
    hop: int = 1

    def __post_init__(self) -> None:
        if min(self.length, self.stride, self.hop) < 1:
            raise ValueError(f"{self}: give 1 or more for the length, the stride and the hop of a window")

    @property
    def span(self) -> int:
        """Steps from the first of a window to behind its last."""
        return (self.length - 1) * self.stride + 1

    @property
    def overlaps(self) -> bool:
        """Whether a time step can be in several windows."""
        return self.hop // math.gcd(self.hop, self.stride) < self.length

    def steps_from(self, first: int) -> range:
        """The steps of the window that begins at this one."""
        return range(first, first + self.span, self.stride)

    def holding(self, step: int, num_steps: int | None = None) -> Sequence[int]:
        """The windows that hold a step, by their first steps, ascending.

        Args:
            step: of a simulation.
            num_steps: that the simulation has: no window goes beyond; None: not known.
        """
        stride, hop = self.stride, self.hop
        common = math.gcd(hop, stride)
        if step % common:
            return ()
        # The positions in a window at which the step can be are `period` apart: (step - position * stride) % hop == 0.
        period = hop // common
        position = step // common * pow(stride // common, -1, period) % period
        apart = period * stride
        highest = step - position * stride
        if num_steps is not None and highest > num_steps - self.span:
            too_high = -((num_steps - self.span - highest) // apart)
            highest, position = highest - too_high * apart, position + too_high * period
        if position >= self.length or highest < 0:
            return ()
        num = min((self.length - 1 - position) // period, highest // apart)
        return range(highest - num * apart, highest + 1, apart)


def num_samples(num_steps: int, window: Window | None) -> int:
    """Samples that a simulation of so many steps has; without a window each step is one."""
    if window is None:
        return num_steps
    return max(0, (num_steps - window.span) // window.hop + 1)


def missing_steps(num_steps: int, delivered: Ranges, window: Window | None) -> Ranges:
    """The steps that must be sent so that every sample which is not delivered yet can be formed.

    Args:
        num_steps: of the simulation.
        delivered: the samples that are there, each by its first step.
        window: what a sample needs; None: one step.
    """
    window = window or Window(length=1)
    missing = Ranges()
    for first in range(0, num_samples(num_steps, window) * window.hop, window.hop):
        if first in delivered:
            continue
        if window.stride == 1:
            missing.add_range(first, first + window.length)
        else:
            for step in window.steps_from(first):
                missing.add(step)
    return missing


def steps_not_needed(num_steps: int | None, delivered: Ranges, window: Window | None) -> Ranges:
    """The steps that a new attempt need not send, because no sample that is missing needs them.

    Args:
        num_steps: of the simulation; None if nobody knows yet: then a window might need any step.
        delivered: the samples that are there, each by its first step.
        window: what a sample needs; None: one step.
    """
    if window is None:
        return delivered
    if num_steps is None:
        return Ranges()
    return _not_needed(num_steps, delivered, window) if len(delivered) else _in_no_window(num_steps, window).copy()


def num_steps_in_no_window(num_steps: int, window: Window | None) -> int:
    """Time steps of a simulation of so many that are part of no sample."""
    return 0 if window is None else len(_in_no_window(num_steps, window))


@lru_cache(maxsize=256)
def _in_no_window(num_steps: int, window: Window) -> Ranges:
    """Every simulation is asked about once at least, and nearly all are alike."""
    return _not_needed(num_steps, Ranges(), window)


def _not_needed(num_steps: int, delivered: Ranges, window: Window) -> Ranges:
    gaps, behind = [], 0
    for start, end in missing_steps(num_steps, delivered, window).ranges:
        gaps.append((behind, start))
        behind = end
    return Ranges([*gaps, (behind, num_steps)])


class FormedWindows(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of the windows of a simulation with a time step that is complete; each is named once.

    Attributes:
        complete: the windows that are complete with this step, by their first steps, ascending. All their steps are of
            one attempt, unless the solver is deterministic.
        given_up: the windows that will never be, since the step before was handed on.
        spent: the steps that no window needs any more, since then; this one may be among them.
    """

    complete: tuple[int, ...] = ()
    given_up: tuple[int, ...] = ()
    spent: tuple[int, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Something complete to learn from, and where it comes from; each key is emitted once.

    It is one time step, or a window of them. Where a study learns from windows, what is assembled are still the time
    steps: each is handed on with `windows`, and a consumer makes the windows of them.

    Attributes:
        key: of the simulation, and of the (first) time step.
        attempt: the execution of the simulation that made it.
        purpose: what it may be used for.
        time: physical time of its (first) step, NaN if the solver gives none.
        parameters: of its simulation, float64 [P].
        fields: an array per field in the order of the layout, [*shape], or [L, *shape] of a window; the memory that the
            consumer had reserved for it. Where simulations have their own sizes, in those of this one.
        windows: of a single time step, what it completes; None: the study learns from time steps, or this is a window.
        times: of a window, the physical times of all its steps, float64 [L].
        static: the sizes of its simulation and what it has sent once, one object for all samples of an attempt; None:
            the study has neither.
    """

    key: SampleKey
    attempt: int
    purpose: Purpose
    time: float
    parameters: FloatArray
    fields: tuple[npt.NDArray[Any], ...]
    windows: FormedWindows | None = None
    times: FloatArray | None = None
    static: StaticFields | None = None
