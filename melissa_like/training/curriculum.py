"""How an autoregressive surrogate is trained along a window: from the solver's steps, or from what it predicted itself.

A curriculum is anything that is called with the calls of the network that a window has room for, and the progress of
the study, and returns an `Unrolling`. It is asked anew at each training step. One with settings is a dataclass, so that
it can be written down with the surrogate. Ranks may draw different ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

__all__ = ["Curriculum", "Gradual", "Pushforward", "RollOut", "TeacherForcing", "Unrolling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrolling:
    """The calls of the network in one training step. The first is given time steps of the solver.

    Attributes:
        first: which of the calls that the window has room for is the first, from 0.
        calls: one after the other.
        run: so many calls follow one another on their own predictions, then the solver's steps are given again.
        silent: so many calls come first that have no gradient and are not in the loss.

    Raises:
        ValueError: a call before the window, none at all, or none in the loss.
    """

    calls: int
    run: int
    first: int = 0
    silent: int = 0

    def __post_init__(self) -> None:
        if self.first < 0 or self.run < 1 or not 0 <= self.silent < self.calls:
            raise ValueError(f"{self}: give a first call from 0, a run of 1 or more, and more calls than silent ones")

    def within(self, num_calls: int) -> "Unrolling":
        """Itself, if the window has room for it.

        Raises:
            ValueError: a call behind the window.
        """
        if self.first + self.calls > num_calls:
            raise ValueError(f"{self}: the window has room for {num_calls} calls: let the curriculum make no more")
        return self


Curriculum: TypeAlias = Callable[[int, float], Unrolling]


@dataclass(frozen=True, slots=True)
class TeacherForcing:
    """Every call is given the solver's steps: it learns one step, and nothing of its own errors."""

    def __call__(self, num_calls: int, progress: float) -> Unrolling:
        """All calls, each by itself."""
        return Unrolling(calls=num_calls, run=1)


@dataclass(frozen=True, slots=True)
class RollOut:
    """Every call but the first is given what was predicted before, with the gradient through all of them."""

    def __call__(self, num_calls: int, progress: float) -> Unrolling:
        """All calls in one run."""
        return Unrolling(calls=num_calls, run=num_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradual:
    """From teacher forcing to the full roll-out: the runs grow from one call to all that the window has room for.

    Args:
        begin: progress until which every call is given the solver's steps.
        end: progress from which none but the first is.

    Raises:
        ValueError: not 0 ≤ begin ≤ end ≤ 1.
    """

    begin: float = 0.1
    end: float = 0.6

    def __post_init__(self) -> None:
        _check_span(self.begin, self.end)

    def __call__(self, num_calls: int, progress: float) -> Unrolling:
        """All calls, in runs as long as the progress allows."""
        return Unrolling(calls=num_calls, run=1 + _grown(num_calls - 1, progress, self.begin, self.end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushforward:
    """Some calls without gradient, then one with: the network learns to go on from inputs as it makes them itself.

    The pushforward trick of Brandstetter, Worrall and Welling, "Message Passing Neural PDE Solvers" (ICLR 2022, arXiv
    2202.03376), Section 3.1. The number of calls without gradient is drawn for each batch, from none to the most that
    is allowed, so that the loss on true inputs takes part too; where in the window they begin is drawn as well.

    Args:
        begin: progress until which there is no call without gradient.
        end: progress from which there may be as many as the window has room for.

    Raises:
        ValueError: not 0 ≤ begin ≤ end ≤ 1.
    """

    begin: float = 0.0
    end: float = 0.2

    def __post_init__(self) -> None:
        _check_span(self.begin, self.end)

    def __call__(self, num_calls: int, progress: float) -> Unrolling:
        """One call in the loss, at a random place of the window, behind a random number of others."""
        silent = _drawn(1 + _grown(num_calls - 1, progress, self.begin, self.end))
        return Unrolling(first=_drawn(num_calls - silent), calls=silent + 1, run=silent + 1, silent=silent)


def _check_span(begin: float, end: float) -> None:
    if not 0 <= begin <= end <= 1:
        raise ValueError(f"begin is {begin} and end is {end}: give shares of the study, 0 ≤ begin ≤ end ≤ 1")


def _grown(most: int, progress: float, begin: float, end: float) -> int:
    """From 0 to the most, in equal parts of the progress between begin and end."""
    if progress >= end:
        return most
    if progress < begin:
        return 0
    return int((most + 1) * (progress - begin) / (end - begin))


def _drawn(behind: int) -> int:
    """A whole number from 0, from torch's own generator of the CPU: nobody waits for a device."""
    return int(torch.randint(behind, ()).item())
