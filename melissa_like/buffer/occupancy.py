"""`Occupancy`: which slot holds what, decided purely. The buffer holds its lock around every call.

A slot is free, reserved (a sample is being assembled in it), or filled. A filled slot can be drawn until it is removed;
it is *pinned* as long as draws that include it are not settled, and *seen* once one was. Only a slot that is seen and
not pinned can be evicted; a removed slot becomes free when it is not pinned any more. So whoever copies out of a slot
needs no lock: nothing can be written there before the settlement.

Where the sizes of samples differ, a slot is not enough: a sample also takes bytes of a space. Seen samples are then
evicted until there are enough, and those that went stay gone if it has to wait for more.

A batch is drawn and settled for the price of a few array operations, whatever its size: only a sample seen for the
first time, or removed, is looked at by itself.
"""

from collections import deque

import numpy as np

from melissa_like.buffer.draws import Draw, Offer, Population
from melissa_like.buffer.pins import Pins
from melissa_like.buffer.policies import Evictor, Gate, Level, Selector
from melissa_like.buffer.ragged_space import Load, RaggedSpace
from melissa_like.buffer.slots import SlotArray
from melissa_like.buffer.state import BufferState
from melissa_like.records import FloatArray

__all__ = ["Occupancy"]


_NONE: frozenset[int] = frozenset()


class Occupancy:
    """The state of all slots and the policies over them. No lock, no clock, no memory of samples.

    Args:
        num_slots: capacity + spare slots.
        capacity: samples held at most.
        draws_until_removed: draws after which a sample is removed; None: never.
        drain_removes: once draining, every draw removes its sample.
        space: that samples take bytes of; None: a slot has room for any.

    Attributes:
        put_waits: a put found no room, and neither has one succeeded since, nor a training step ended.
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
        space: RaggedSpace | None = None,
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
        self._space = space
        self._most = capacity
        self._free = deque(range(num_slots))
        self._is_filled = np.zeros(num_slots, np.bool_)
        self._is_seen = np.zeros(num_slots, np.bool_)
        self._num_draws = np.zeros(num_slots, np.int64)  # counted where samples are removed after some draws
        self._removed_pinned: set[int] = set()
        self._replacing: set[int] = set()  # admitted in the place of an evicted sample, not filled yet
        self._pins = Pins(num_slots)
        self._spare = num_slots - capacity
        self._reserved = 0
        self._filled = 0
        self._unseen = 0
        self._evicted = 0
        self._removed = 0
        self._unsettled: dict[int, Draw] = {}
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

    def has_room(self, load: Load | None = None) -> bool:
        """Whether a put can be made at once.

        Args:
            load: what the sample takes of the space, if there is one. Then others are evicted for it already.
        """
        if not self._gate.admits(self._level):
            return False
        if load is not None:
            return self._make_room(load)
        return self._filled < self._most or self._evictor.finds(self._pins)

    def _make_room(self, load: Load) -> bool:
        assert self._space is not None, "a sample takes bytes, and there are none"
        while self._filled == self._most or not self._space.fits(load):
            if not self._evictor.finds(self._pins):
                return False
            self._evict()
            self._level.size -= 1
            self._level.gave_way += 1
        return True

    def admit(self, reserved: int | None, load: Load | None = None) -> int:
        """Make room for a sample, evicting another if need be; the slot where it shall lie. There must be room."""
        evicts = self._filled == self._most
        if evicts:
            self._evict()
        self._filled += 1
        if reserved is None:
            slot = self._free.popleft()
        else:
            slot = reserved
            self._reserved -= 1
        if evicts:
            self._replacing.add(slot)
        if self._space is not None and load is not None:
            self._space.take(slot, load)
        return slot

    @property
    def is_bare(self) -> bool:
        """Nothing can be drawn before a sample is filled: all others were evicted for it."""
        return self._level.size == 0

    def fill(self, slot: int) -> None:
        """The sample lies in the slot that it was admitted to: it can be drawn."""
        self._is_filled[slot] = True
        self._selector.add(slot, drawn=False)
        if slot in self._replacing:
            self._replacing.remove(slot)
        else:
            self._level.size += 1
        self._level.puts += 1
        if self._space is not None:
            self._level.note_nbytes(self._space.used_nbytes, self._space.nbytes, most=self._most)
        self._unseen += 1
        self.put_waits = False

    def _evict(self) -> None:
        # The size stays: draws that were agreed on before must still be on offer while its place is written.
        slot = self._evictor.pick(self._rng.random, self._pins)
        self._forget(slot)
        self._evicted += 1
        self._vacate(slot)

    def _forget(self, slot: int) -> None:
        """It can be neither drawn nor evicted any more."""
        self._evictor.discard(slot)
        self._selector.discard(slot)

    def _vacate(self, slot: int) -> None:
        self._is_filled[slot] = self._is_seen[slot] = False
        self._num_draws[slot] = 0
        self._free.append(slot)
        self._filled -= 1
        if self._space is not None:
            self._space.give_back(slot)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def offer(self) -> Offer:
        """What can be drawn now."""
        return Offer(
            available=self.most(gate_lifted=False),
            held=self.most(gate_lifted=True),
            put_waits=self.put_waits,
            reception_over=self.reception_over,
            unsettled=bool(self._unsettled),
        )

    def most(self, *, gate_lifted: bool) -> int:
        """Draws that may be made now, with the watermark or, when reception is over or it is lifted, without."""
        if gate_lifted or self.reception_over:
            return self._gate.held(self._level)
        return self._gate.available(self._level)

    def drain(self) -> None:
        """From now on draws remove their samples, if the recipe says so."""
        self._draining = True
        self._level.draws_remove |= self._drain_removes

    def draw(self, n: int) -> Draw:
        """Draw n samples that are on offer."""
        us = self._rng.random(n)
        limit = 1 if self._draining and self._drain_removes else self._draws_until_removed
        if limit is None:
            slots, removed = self._selector.pick(us, self._level), _NONE
            self._level.draws += n
        else:
            slots, removed = self._draw_removing(us, limit)
        draw = Draw(slots=slots, removed=removed, hold=self._pins.hold(slots))
        self._unsettled[draw.hold] = draw
        return draw

    def _draw_removing(self, us: FloatArray, limit: int) -> tuple[SlotArray, frozenset[int]]:
        slots = np.empty(len(us), np.int64)
        removed: list[int] = []
        for number in range(len(us)):
            slot = slots[number] = int(self._selector.pick(us[number : number + 1], self._level)[0])
            self._level.draws += 1
            self._num_draws[slot] += 1
            if self._num_draws[slot] >= limit:
                removed.append(slot)
                self._forget(slot)
                self._level.size -= 1
        self._removed_pinned.update(removed)
        return slots, frozenset(removed)

    def settle(self, draw: Draw) -> None:
        """The training step of this draw has ended: its samples are seen, and those it removed make room."""
        del self._unsettled[draw.hold]
        unseen = draw.slots[~self._is_seen[draw.slots]]
        for slot in set(unseen.tolist()):
            self._is_seen[slot] = True
            self._unseen -= 1
            if slot not in self._removed_pinned:
                self._evictor.add(slot)
        self.release(draw.hold)
        self.put_waits = False  # who waits looks again, and says so if there is still no room

    # -- copying ------------------------------------------------------------------------------------------------------

    def some_filled(self, n: int) -> SlotArray:
        """Up to n filled slots, evenly spread: those next to one another often hold one simulation."""
        filled = np.flatnonzero(self._is_filled)
        return filled if len(filled) <= n else filled[np.arange(n) * len(filled) // n]

    def hold(self, slots: SlotArray) -> int:
        """Nothing is written into these slots until the hold is released; its number."""
        return self._pins.hold(slots)

    def release(self, hold: int) -> None:
        """Release a hold: removed samples that are pinned no more make room."""
        self._pins.release(hold)
        self._vacate_removed()

    def _vacate_removed(self) -> None:
        if self._removed_pinned:
            leaving = [slot for slot in self._removed_pinned if slot not in self._pins]
            for slot in leaving:
                self._removed += 1
                self._vacate(slot)
            self._removed_pinned.difference_update(leaving)

    # -- looking and restarting ---------------------------------------------------------------------------------------

    def population(self) -> Population:
        """The counters."""
        space = self._space
        return Population(
            nbytes=0 if space is None else space.used_nbytes,
            capacity_nbytes=0 if space is None else space.nbytes,
            static_nbytes=0 if space is None else space.static_nbytes,
            capacity=self._level.capacity,
            size=self._level.size,
            seen=self._filled - self._unseen,
            unseen=self._unseen,
            puts=self._level.puts,
            draws=self._level.draws,
            evicted=self._evicted,
            removed=self._removed,
        )

    def keep(self) -> tuple[SlotArray, BufferState]:
        """Pin all samples that a restart needs until `let_go`; their slots, and the state without their keys.

        Unsettled draws are undone, so the samples that they removed are among them.
        """
        drawn = [draw.slots for draw in self._unsettled.values()]
        removed = dict.fromkeys(
            slot for draw in self._unsettled.values() for slot in draw.slots.tolist() if slot in draw.removed
        )
        slots = np.array([*removed, *self._selector], np.int64)
        provisional = np.bincount(np.concatenate([np.empty(0, np.int64), *drawn]), minlength=len(self._num_draws))
        self._pins.keep(slots)
        return slots, BufferState(
            keys=np.empty((0, 2), np.int64),
            seen=self._is_seen[slots],
            num_draws=np.maximum(0, self._num_draws[slots] - provisional[slots]),
            puts=self._level.puts,
            draws=self._level.draws - int(provisional.sum()),
            evicted=self._evicted,
            removed=self._removed,
            rng=self._rng.bit_generator.state,
        )

    def let_go(self, slots: SlotArray) -> None:
        """Samples that were kept are copied."""
        self._pins.let_go(slots)
        self._vacate_removed()

    def restore(self, state: BufferState) -> None:
        """Go on from a saved state, whose samples lie in the slots 0, 1, 2 ...

        Raises:
            ValueError: more samples than the capacity.
        """
        assert self._level.puts == 0, "the buffer was used before"
        num_samples = state.size
        if num_samples > self._most:
            raise ValueError(
                f"the saved buffer holds {num_samples} samples but the capacity is {self._most}: "
                "restart with the capacity that it was saved with, or a larger one"
            )
        for slot, seen in enumerate(state.seen.tolist()):
            self._free.remove(slot)
            self._selector.add(slot, drawn=seen)  # draws that were not settled are not made
            if seen:
                self._evictor.add(slot)
        self._is_filled[:num_samples] = True
        self._is_seen[:num_samples] = state.seen
        self._num_draws[:num_samples] = state.num_draws
        self._filled = self._level.size = num_samples
        self._unseen = num_samples - int(state.seen.sum())
        self._level.puts, self._level.draws = state.puts, state.draws
        self._evicted, self._removed = state.evicted, state.removed
        if state.rng is not None:
            self._rng.bit_generator.state = dict(state.rng)

    def restored(self) -> None:
        """The samples of the saved state lie in their slots."""
        if self._space is not None and self._level.size:
            self._level.note_nbytes(self._space.used_nbytes, self._space.nbytes, most=self._most)
