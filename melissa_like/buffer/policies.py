"""Selectors, evictors and gates: pure decisions about slot indices. The lock of the buffer is held around them.

Randomness comes in as a number `u`, uniform in [0, 1), so that a policy is a function of what it is told.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from melissa_like.buffer.slots import SlotSet

__all__ = [
    "UNLIMITED",
    "AlwaysOpen",
    "Evictor",
    "FillTo",
    "Gate",
    "KeepAbove",
    "Level",
    "Never",
    "Oldest",
    "Selector",
    "Uniform",
    "UniformSeen",
    "ViewsPerSample",
]

#: Stands for any number of draws.
UNLIMITED = 2**31


@dataclass(slots=True, kw_only=True)
class Level:
    """What the policies know of the buffer.

    Attributes:
        capacity: samples that it can hold.
        size: samples that can be drawn.
        puts: samples put so far.
        draws: draws made so far, provisional ones included.
        draws_remove: whether the next draw may remove its sample, so that `size` bounds the number of draws.
    """

    capacity: int
    size: int = 0
    puts: int = 0
    draws: int = 0
    draws_remove: bool = False

    @property
    def supply(self) -> int:
        """Draws that are possible for certain, whatever the gate says."""
        return self.size if self.draws_remove else UNLIMITED * (self.size > 0)


class Selector(Protocol):
    """Which sample is drawn. Iterates over its slots in the order in which a restart must add them again."""

    def add(self, slot: int, *, drawn: bool) -> None:
        """A sample can be drawn from now on; `drawn`: it was drawn before (after a restart)."""

    def discard(self, slot: int) -> None:
        """It cannot be drawn any more."""

    def pick(self, u: float, level: Level) -> int:
        """The sample to draw now; there is at least one."""

    def __iter__(self) -> Iterator[int]: ...


class Evictor(Protocol):
    """Which sample gives way when the buffer is full."""

    def add(self, slot: int) -> None:
        """A sample is seen and not pinned."""

    def discard(self, slot: int) -> None:
        """It is pinned, or gone."""

    def pick(self, u: float) -> int | None:
        """The sample to evict; None: a put must wait."""


class Gate(Protocol):
    """When draws and puts must wait."""

    def available(self, level: Level) -> int:
        """Draws that may be made now."""

    def held(self, level: Level) -> int:
        """Draws that could be made if the watermark were lifted."""

    def admits(self, level: Level) -> bool:
        """Whether a put may be made now, room provided."""


class Oldest:
    """Draws in the order of the puts."""

    def __init__(self) -> None:
        self._slots: OrderedDict[int, None] = OrderedDict()

    def add(self, slot: int, *, drawn: bool) -> None:
        """See `Selector`."""
        self._slots[slot] = None

    def discard(self, slot: int) -> None:
        """See `Selector`."""
        self._slots.pop(slot, None)

    def pick(self, u: float, level: Level) -> int:
        """See `Selector`."""
        return next(iter(self._slots))

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)


class Uniform:
    """Draws any sample with the same probability."""

    def __init__(self) -> None:
        self._slots = SlotSet()

    def add(self, slot: int, *, drawn: bool) -> None:
        """See `Selector`."""
        self._slots.add(slot)

    def discard(self, slot: int) -> None:
        """See `Selector`."""
        self._slots.discard(slot)

    def pick(self, u: float, level: Level) -> int:
        """See `Selector`."""
        return self._slots.choose(u)

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)


class Never:
    """Evicts nothing: a put waits until draws make room."""

    def add(self, slot: int) -> None:
        """See `Evictor`."""

    def discard(self, slot: int) -> None:
        """See `Evictor`."""

    def pick(self, u: float) -> int | None:
        """See `Evictor`."""
        return None


class UniformSeen:
    """Evicts any seen sample with the same probability, but for those pinned by a draw."""

    def __init__(self) -> None:
        self._slots = SlotSet()

    def add(self, slot: int) -> None:
        """See `Evictor`."""
        self._slots.add(slot)

    def discard(self, slot: int) -> None:
        """See `Evictor`."""
        self._slots.discard(slot)

    def pick(self, u: float) -> int | None:
        """See `Evictor`."""
        return self._slots.choose(u) if len(self._slots) else None


class AlwaysOpen:
    """Whatever is there may be drawn."""

    def available(self, level: Level) -> int:
        """See `Gate`."""
        return level.supply

    def held(self, level: Level) -> int:
        """See `Gate`."""
        return level.supply

    def admits(self, level: Level) -> bool:
        """See `Gate`."""
        return True


@dataclass(frozen=True, slots=True)
class KeepAbove(AlwaysOpen):
    """Draws only what is above the watermark, so that the rest stays mixed."""

    watermark: int

    def available(self, level: Level) -> int:
        """See `Gate`."""
        return max(0, level.size - self.watermark)


@dataclass(frozen=True, slots=True)
class FillTo(AlwaysOpen):
    """Draws once the watermark is reached."""

    watermark: int

    def available(self, level: Level) -> int:
        """See `Gate`."""
        return level.supply if level.size >= self.watermark else 0


class ViewsPerSample:
    """Selector and gate at once: every put owes V draws, and no draw is made that is not owed.

    The *debt* is V × puts − draws. Draws wait for the debt to be positive; puts wait while it is so large that the
    samples held could not repay it at V draws each; so neither side runs away from the other (the sample-to-insert
    ratio of Cassirer et al., "Reverb: A Framework For Experience Replay", arXiv 2102.04736). When as many draws are
    owed as samples were never drawn, only those are drawn: each is drawn at least once.

    Args:
        views: draws per put V.
        gate: the watermark.
    """

    def __init__(self, views: int, gate: Gate) -> None:
        self._views = views
        self._gate = gate
        self._slots = SlotSet()
        self._undrawn = SlotSet()

    def add(self, slot: int, *, drawn: bool) -> None:
        """See `Selector`."""
        self._slots.add(slot)
        if not drawn:
            self._undrawn.add(slot)

    def discard(self, slot: int) -> None:
        """See `Selector`."""
        self._slots.discard(slot)
        self._undrawn.discard(slot)

    def pick(self, u: float, level: Level) -> int:
        """See `Selector`."""
        scarce = self._debt(level) <= len(self._undrawn)
        slot = (self._undrawn if scarce else self._slots).choose(u)
        self._undrawn.discard(slot)
        return slot

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)

    def available(self, level: Level) -> int:
        """See `Gate`."""
        return min(self._gate.available(level), self._debt(level))

    def held(self, level: Level) -> int:
        """See `Gate`."""
        return min(self._gate.held(level), self._debt(level))

    def admits(self, level: Level) -> bool:
        """See `Gate`."""
        return self._debt(level) + self._views <= self._views * level.capacity

    def _debt(self, level: Level) -> int:
        return self._views * level.puts - level.draws
