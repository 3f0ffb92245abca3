"""Selectors, evictors and gates: pure decisions about slot indices. The lock of the buffer is held around them.

Randomness comes in as numbers uniform in [0, 1), so that a policy is a function of what it is told.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from melissa_like.buffer.pins import Pins
from melissa_like.buffer.slots import SlotArray, SlotSet
from melissa_like.records import FloatArray

__all__ = [
    "UNLIMITED",
    "AlwaysOpen",
    "Evictor",
    "FillTo",
    "FillToShare",
    "Gate",
    "KeepAbove",
    "KeepShare",
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

#: Tries to hit a slot that is not pinned before all are looked through, which costs much while a checkpoint keeps most.
_TRIES = 32


@dataclass(slots=True, kw_only=True)
class Level:
    """What the policies know of the buffer.

    Attributes:
        capacity: samples that it can hold.
        size: samples that can be drawn.
        puts: samples put so far.
        draws: draws made so far, provisional ones included.
        draws_remove: whether the next draw may remove its sample, so that `size` bounds the number of draws.
        gave_way: samples that went before there was one in their place, because it is larger: they shut no gate again.
        fullest: the highest share of a capacity in bytes so far, 0 to 1.

    Where the sizes of samples differ, the capacity is the number of samples of the sizes so far that fit.
    """

    capacity: int
    size: int = 0
    puts: int = 0
    draws: int = 0
    draws_remove: bool = False
    gave_way: int = 0
    fullest: float = 0.0

    @property
    def supply(self) -> int:
        """Draws that are possible for certain, whatever the gate says."""
        return self.size if self.draws_remove else UNLIMITED * (self.size > 0)

    def note_nbytes(self, used: int, capacity_nbytes: int, *, most: int) -> None:
        """So many bytes are used of a capacity in bytes, and there are so many slots at most."""
        self.capacity = min(most, max(1, self.size * capacity_nbytes // used))
        self.fullest = max(self.fullest, used / capacity_nbytes, self.size / most)


class Selector(Protocol):
    """Which sample is drawn. Iterates over its slots in the order in which a restart must add them again."""

    def add(self, slot: int, *, drawn: bool) -> None:
        """A sample can be drawn from now on; `drawn`: it was drawn before (after a restart)."""

    def discard(self, slot: int) -> None:
        """It cannot be drawn any more."""

    def pick(self, us: FloatArray, level: Level) -> SlotArray:
        """The samples of the next draws, one per number; there is at least one sample, and none is removed between."""

    def __iter__(self) -> Iterator[int]: ...


class Evictor(Protocol):
    """Which sample gives way when the buffer is full."""

    def add(self, slot: int) -> None:
        """A sample is seen."""

    def discard(self, slot: int) -> None:
        """It is gone."""

    def finds(self, pins: Pins) -> bool:
        """Whether a sample can give way now; otherwise a put must wait."""

    def pick(self, uniform: Callable[[], float], pins: Pins) -> int:
        """The sample to evict, which is not pinned; there is at least one. `uniform` gives a number per call."""


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

    def pick(self, us: FloatArray, level: Level) -> SlotArray:
        """See `Selector`."""
        return np.full(len(us), next(iter(self._slots)))

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

    def pick(self, us: FloatArray, level: Level) -> SlotArray:
        """See `Selector`."""
        return self._slots.choose_several(us)

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)


class Never:
    """Evicts nothing: a put waits until draws make room."""

    def add(self, slot: int) -> None:
        """See `Evictor`."""

    def discard(self, slot: int) -> None:
        """See `Evictor`."""

    def finds(self, pins: Pins) -> bool:
        """See `Evictor`."""
        return False

    def pick(self, uniform: Callable[[], float], pins: Pins) -> int:
        """See `Evictor`."""
        raise AssertionError("nothing is evicted here")


class UniformSeen:
    """Evicts any seen sample that is not pinned, all with the same probability.

    By rejection: a seen sample is chosen until one is not pinned, so that draws need not tell what they pin.
    """

    def __init__(self) -> None:
        self._slots = SlotSet()

    def add(self, slot: int) -> None:
        """See `Evictor`."""
        self._slots.add(slot)

    def discard(self, slot: int) -> None:
        """See `Evictor`."""
        self._slots.discard(slot)

    def finds(self, pins: Pins) -> bool:
        """See `Evictor`."""
        if len(self._slots) > pins.at_most:
            return True
        slots = self._slots.array
        some = slots[:: max(1, len(slots) // _TRIES)]
        return len(pins.unpinned(some)) > 0 or len(pins.unpinned(slots)) > 0

    def pick(self, uniform: Callable[[], float], pins: Pins) -> int:
        """See `Evictor`."""
        for _ in range(_TRIES):
            slot = self._slots.choose(uniform())
            if slot not in pins:
                return slot
        unpinned = pins.unpinned(self._slots.array)
        return int(unpinned[int(uniform() * len(unpinned))])


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
        return level.supply if level.size + level.gave_way >= self.watermark else 0


class KeepShare(AlwaysOpen):
    """As `KeepAbove`, where the capacity is in bytes: the watermark is what a share of it holds when it is reached.

    It stays at that, because draws that were agreed on must stay on offer, whatever comes and goes.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._watermark: int | None = None

    def available(self, level: Level) -> int:
        """See `Gate`."""
        if self._watermark is None:
            if level.fullest < self._share:
                return 0
            self._watermark = int(self._share * level.capacity)
        return max(0, level.size - self._watermark)


@dataclass(frozen=True, slots=True)
class FillToShare(AlwaysOpen):
    """As `FillTo`, where the capacity is in bytes and the watermark a share of it."""

    share: float

    def available(self, level: Level) -> int:
        """See `Gate`."""
        return level.supply if level.fullest >= self.share else 0


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

    def pick(self, us: FloatArray, level: Level) -> SlotArray:
        """See `Selector`."""
        debt = self._debt(level)
        if debt - len(us) < len(self._undrawn):  # undrawn samples may become scarce within these draws
            return np.array([self._pick_one(u, debt - number) for number, u in enumerate(us.tolist())], np.int64)
        slots = self._slots.choose_several(us)
        if len(self._undrawn):
            for slot in slots.tolist():
                self._undrawn.discard(slot)
        return slots

    def _pick_one(self, u: float, debt: int) -> int:
        slot = (self._undrawn if debt <= len(self._undrawn) else self._slots).choose(u)
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
