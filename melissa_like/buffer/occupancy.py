"""`Occupancy`: which slot holds what, decided purely. The buffer holds its lock around every call.

A slot is free, reserved (a sample is being assembled in it), or filled. A filled slot can be drawn until it is removed;
it is *pinned* as long as draws that include it are not settled, and *seen* once one was. Only a slot that is seen and
not pinned can be evicted; a removed slot becomes free when it is not pinned any more. So whoever copies out of a slot
needs no lock: nothing can be written there before the settlement.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from melissa_like.buffer.policies import Evictor, Gate, Level, Selector

__all__ = ["Draw", "Occupancy", "Offer", "Population"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be drawn.

    Attributes:
        available: draws that may be made now.
        held: draws that could be made if the watermark were lifted.
        put_waits: a put found no room, and none succeeded since.
        reception_over: nothing more will be put.
    """

    available: int
    held: int
    put_waits: bool
    reception_over: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """A provisional draw: its samples are pinned until it is settled.

    Attributes:
        slots: one per sample; the same one may come twice.
        removed: which of them this draw removed.
    """

    slots: tuple[int, ...]
    removed: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Counters of a buffer. `unseen` are samples held whose first training step has not ended."""

    capacity: int
    size: int
    seen: int
    unseen: int
    puts: int
    draws: int
    evicted: int
    removed: int


@dataclass(slots=True)
class _Slot:
    filled: bool = False
    seen: bool = False
    removed: bool = False
    num_draws: int = 0
    pins: int = 0


class Occupancy:
    """The state of all slots and the policies over them. No lock, no clock, no memory of samples.

    Args:
        num_slots: capacity + spare slots.
        capacity: samples held at most.
        draws_until_removed: draws after which a sample is removed; None: never.
        drain_removes: once draining, every draw removes its sample.

    Attributes:
        put_waits: a put found no room, and none succeeded since.
        reception_over: nothing more will be put.
    """

    def __init__(
        self,
        num_slots: int,
        *,
        capacity: int,
        selector: Selector,
        evictor: Evictor,
        gate: Gate,
        draws_until_removed: int | None,
        drain_removes: bool,
        seed: int,
    ) -> None:
        assert num_slots >= capacity, "the storage is smaller than the capacity"
        self._selector = selector
        self._evictor = evictor
        self._gate = gate
        self._draws_until_removed = draws_until_removed
        self._drain_removes = drain_removes
        self._draining = False
        self._rng = np.random.default_rng(seed)
        self._level = Level(capacity=capacity, draws_remove=draws_until_removed is not None)
        self._slots = [_Slot() for _ in range(num_slots)]
        self._free = deque(range(num_slots))
        self._spare = num_slots - capacity
        self._reserved = 0
        self._filled = 0
        self._unseen = 0
        self._evicted = 0
        self._removed = 0
        self._unsettled: dict[Draw, None] = {}
        self.put_waits = False
        self.reception_over = False

    # -- putting ------------------------------------------------------------------------------------------------------

    def reserve(self) -> int | None:
        """A slot to assemble a sample in; None while all spare ones are reserved."""
        if self._reserved == self._spare:
            return None
        self._reserved += 1
        return self._free.popleft()

    def abandon(self, slot: int) -> None:
        """A reserved slot is free again."""
        self._reserved -= 1
        self._free.append(slot)

    def has_room(self) -> bool:
        """Whether a put can be made at once."""
        if not self._gate.admits(self._level):
            return False
        return self._filled < self._level.capacity or self._evictor.pick(0.0) is not None

    def admit(self, reserved: int | None) -> int:
        """Make room for a sample, evicting another if need be; the slot where it shall lie. There must be room."""
        if self._filled == self._level.capacity:
            self._evict()
        self._filled += 1
        if reserved is None:
            return self._free.popleft()
        self._reserved -= 1
        return reserved

    def fill(self, number: int) -> None:
        """The sample lies in the slot that it was admitted to: it can be drawn."""
        self._slots[number] = _Slot(filled=True)
        self._selector.add(number, drawn=False)
        self._level.size += 1
        self._level.puts += 1
        self._unseen += 1
        self.put_waits = False

    def _evict(self) -> None:
        number = self._evictor.pick(self._rng.random())
        assert number is not None, "room was found but there is none"
        self._evictor.discard(number)
        self._selector.discard(number)
        self._level.size -= 1
        self._evicted += 1
        self._vacate(number)

    def _vacate(self, number: int) -> None:
        self._slots[number] = _Slot()
        self._free.append(number)
        self._filled -= 1

    # -- drawing ------------------------------------------------------------------------------------------------------

    def offer(self) -> Offer:
        """What can be drawn now."""
        held = self._gate.held(self._level)
        return Offer(
            available=held if self.reception_over else self._gate.available(self._level),
            held=held,
            put_waits=self.put_waits,
            reception_over=self.reception_over,
        )

    def drain(self) -> None:
        """From now on draws remove their samples, if the recipe says so."""
        self._draining = True
        self._level.draws_remove |= self._drain_removes

    def draw(self, n: int) -> Draw:
        """Draw n samples that are on offer."""
        level, slots, pick = self._level, self._slots, self._selector.pick
        limit = 1 if self._draining and self._drain_removes else self._draws_until_removed
        picked: list[int] = []
        removed: list[int] = []
        for u in self._rng.random(n).tolist():
            number = pick(u, level)
            picked.append(number)
            level.draws += 1
            slot = slots[number]
            slot.num_draws += 1
            if slot.seen and slot.pins == 0:
                self._evictor.discard(number)
            slot.pins += 1
            if limit is not None and slot.num_draws >= limit:
                slot.removed = True
                removed.append(number)
                self._selector.discard(number)
                level.size -= 1
        draw = Draw(slots=tuple(picked), removed=frozenset(removed))
        self._unsettled[draw] = None
        return draw

    def settle(self, draw: Draw) -> None:
        """The training step of this draw has ended: its samples are seen, and those it removed make room."""
        del self._unsettled[draw]
        for number in draw.slots:
            slot = self._slots[number]
            if not slot.seen:
                slot.seen = True
                self._unseen -= 1
        self.unpin(draw.slots)

    # -- copying ------------------------------------------------------------------------------------------------------

    def first_filled(self, n: int) -> list[int]:
        """Up to n filled slots."""
        return [number for number, slot in enumerate(self._slots) if slot.filled][:n]

    def pin(self, numbers: Sequence[int]) -> None:
        """Nothing is written into these slots until they are unpinned as often."""
        for number in numbers:
            slot = self._slots[number]
            if slot.pins == 0 and slot.seen:
                self._evictor.discard(number)
            slot.pins += 1

    def unpin(self, numbers: Sequence[int]) -> None:
        """The inverse of `pin`."""
        for number in numbers:
            slot = self._slots[number]
            slot.pins -= 1
            if slot.pins:
                continue
            if slot.removed:
                self._removed += 1
                self._vacate(number)
            elif slot.seen:
                self._evictor.add(number)

    # -- looking and restarting ---------------------------------------------------------------------------------------

    def population(self) -> Population:
        """The counters."""
        return Population(
            capacity=self._level.capacity,
            size=self._level.size,
            seen=self._filled - self._unseen,
            unseen=self._unseen,
            puts=self._level.puts,
            draws=self._level.draws,
            evicted=self._evicted,
            removed=self._removed,
        )

    def state_dict(self) -> tuple[list[int], dict[str, Any]]:
        """The slots that a restart needs, in order, and what it needs to know of them; unsettled draws are undone."""
        undone = [number for draw in self._unsettled for number in draw.slots if number in draw.removed]
        numbers = [*undone, *self._selector]
        provisional = Counter(number for draw in self._unsettled for number in draw.slots)
        return numbers, {
            "num_draws": [self._slots[number].num_draws - provisional[number] for number in numbers],
            "seen": [self._slots[number].seen for number in numbers],
            "puts": self._level.puts,
            "draws": self._level.draws - provisional.total(),
            "evicted": self._evicted,
            "removed": self._removed,
            "reception_over": self.reception_over,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        """Go on from a saved state, whose samples lie in the slots 0, 1, 2 ...; how many there are.

        Raises:
            ValueError: more samples than the capacity.
        """
        assert self._level.puts == 0, "the buffer was used before"
        num_samples = len(state["seen"])
        if num_samples > self._level.capacity:
            raise ValueError(
                f"the saved buffer holds {num_samples} samples but the capacity is {self._level.capacity}: "
                "restart with the capacity that it was saved with, or a larger one"
            )
        for number, (num_draws, seen) in enumerate(zip(state["num_draws"], state["seen"], strict=True)):
            self._free.remove(number)
            self._slots[number] = _Slot(filled=True, seen=seen, num_draws=num_draws)
            self._selector.add(number, drawn=num_draws > 0)
            if seen:
                self._evictor.add(number)
        self._filled = self._level.size = num_samples
        self._unseen = num_samples - sum(state["seen"])
        self._level.puts, self._level.draws = state["puts"], state["draws"]
        self._evicted, self._removed = state["evicted"], state["removed"]
        self.reception_over = state["reception_over"]
        self._rng.bit_generator.state = state["rng"]
        return num_samples
