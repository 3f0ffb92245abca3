"""`SampleBuffer`: policies over slots, one lock, and what must not be forgotten between a put and a training step.

A slot is free, reserved (a sample is being assembled in it), or filled. A filled slot can be drawn until it is removed;
it is *pinned* as long as draws that include it are not settled, and *seen* once one was. Only a slot that is seen and
not pinned can be evicted; a removed slot becomes free when it is not pinned any more. So whoever copies out of a slot
needs no lock: nothing can be written there before the settlement.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.policies import Evictor, Gate, Level, Selector
from melissa_like.buffer.storage import BatchMemory, Storage
from melissa_like.errors import MelissaLikeError
from melissa_like.records import FloatArray, SampleKey

__all__ = ["BufferClosedError", "Draw", "Offer", "Population", "Reservation", "SampleBuffer"]


class BufferClosedError(MelissaLikeError):
    """The buffer was closed; `__cause__` is the error that closed it, if one did."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reservation:
    """Memory to assemble one sample in.

    Attributes:
        fields: an array per field, in the order of the layout, global shape.
        slot: where they lie; None: memory of their own, copied when the sample is committed.
    """

    fields: tuple[npt.NDArray[Any], ...]
    slot: int | None


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


class SampleBuffer:
    """A bounded selection of samples; made by a recipe (`fifo`, `firo`, `reservoir`).

    Args:
        storage: capacity + spare slots.
        capacity: samples held at most.
        selector: which sample is drawn.
        evictor: which sample gives way.
        gate: when draws and puts wait.
        draws_until_removed: draws after which a sample is removed; None: never.
        drain_removes: once reception is over, every draw removes its sample.
        seed: of the choices.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        capacity: int,
        selector: Selector,
        evictor: Evictor,
        gate: Gate,
        draws_until_removed: int | None,
        drain_removes: bool = True,
        seed: int = 0,
    ) -> None:
        assert storage.num_slots >= capacity, "the storage is smaller than the capacity"
        self._storage = storage
        self._selector = selector
        self._evictor = evictor
        self._gate = gate
        self._draws_until_removed = draws_until_removed
        self._drain_removes = drain_removes
        self._rng = np.random.default_rng(seed)
        self._changed = threading.Condition()
        self._slots = [_Slot() for _ in range(storage.num_slots)]
        self._free = deque(range(storage.num_slots))
        self._spare = storage.num_slots - capacity
        self._level = Level(capacity=capacity, draws_remove=draws_until_removed is not None)
        self._filled = 0
        self._reserved = 0
        self._unseen = 0
        self._evicted = 0
        self._removed = 0
        self._put_waits = False
        self._reception_over = False
        self._draining = False
        self._unsettled: dict[Draw, None] = {}
        self._closed = False
        self._error: BaseException | None = None

    # -- putting ------------------------------------------------------------------------------------------------------

    def reserve(self) -> Reservation:
        """Memory for one sample; never blocks. With all spare slots reserved it is memory of its own."""
        with self._changed:
            if self._reserved < self._spare:
                self._reserved += 1
                slot = self._free.popleft()
                return Reservation(fields=self._storage.fields_of(slot), slot=slot)
        fields = self._storage.layout.fields
        return Reservation(fields=tuple(np.empty(f.shape, f.numpy_dtype) for f in fields), slot=None)

    def abandon(self, reservation: Reservation) -> None:
        """Give back a reservation whose sample will not be completed."""
        if reservation.slot is not None:
            with self._changed:
                self._reserved -= 1
                self._free.append(reservation.slot)

    def commit(
        self, reservation: Reservation, *, key: SampleKey, time: float, parameters: FloatArray, timeout_s: float
    ) -> bool:
        """Add a complete sample, evicting another if need be.

        Blocks while there is no room, `timeout_s` at most.

        Returns:
            False: there was no room in time; the reservation still stands.

        Raises:
            BufferClosedError: closed before or meanwhile.
        """
        with self._changed:
            if not self._has_room() and not self._wait_for_room(timeout_s):
                self._check_open()
                return False
            if self._filled == self._level.capacity:
                self._evict()
            self._filled += 1
            slot = reservation.slot
            if slot is None:
                slot = self._free.popleft()
            else:
                self._reserved -= 1
        if reservation.slot is None:
            for target, source in zip(self._storage.fields_of(slot), reservation.fields, strict=True):
                np.copyto(target, source)
        self._storage.label(slot, key, time, parameters)
        with self._changed:
            self._slots[slot] = _Slot(filled=True)
            self._selector.add(slot, drawn=False)
            self._level.size += 1
            self._level.puts += 1
            self._unseen += 1
            self._put_waits = False
            self._changed.notify_all()
        return True

    def put(
        self,
        key: SampleKey,
        fields: Sequence[npt.NDArray[Any]],
        *,
        time: float,
        parameters: FloatArray,
        timeout_s: float,
    ) -> bool:
        """Copy a sample into the buffer; blocks and returns as `commit`."""
        reservation = self.reserve()
        for target, source in zip(reservation.fields, fields, strict=True):
            np.copyto(target, source)
        done = self.commit(reservation, key=key, time=time, parameters=parameters, timeout_s=timeout_s)
        if not done:
            self.abandon(reservation)
        return done

    def end_reception(self) -> None:
        """Nothing more will be put: the watermark is lifted, and the buffer is drained."""
        with self._changed:
            self._reception_over = True
            self._changed.notify_all()

    # -- drawing ------------------------------------------------------------------------------------------------------

    def offer(self) -> Offer:
        """What can be drawn now. The draws that follow keep to it: only puts can come in between, and draws begin to
        drain the buffer after the first offer that says that reception is over.

        Raises:
            BufferClosedError: closed.
        """
        with self._changed:
            self._check_open()
            if self._reception_over:
                self._draining = True
                self._level.draws_remove |= self._drain_removes
            return self._offer()

    def wait(self, until: Callable[[Offer], bool], timeout_s: float) -> None:
        """Block until an offer would satisfy `until`, or for `timeout_s`.

        Raises:
            BufferClosedError: closed before or meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or until(self._offer()), timeout_s)
            self._check_open()

    def draw(self, n: int, *, gate_lifted: bool = False) -> Draw:
        """Draw n samples, provisionally; does not block.

        Args:
            n: samples.
            gate_lifted: ignore the watermark.

        Raises:
            BufferClosedError: closed.
            ValueError: more than the last offer allows.
        """
        with self._changed:
            self._check_open()
            allowed = self._offer()
            most = allowed.held if gate_lifted else allowed.available
            if n > most:
                raise ValueError(f"a draw of {n} samples but {most} are on offer: draw no more than was offered")
            picked: list[int] = []
            removed: set[int] = set()
            for u in self._rng.random(n).tolist():
                slot = self._selector.pick(u, self._level)
                picked.append(slot)
                if self._pin(slot):
                    removed.add(slot)
            draw = Draw(slots=tuple(picked), removed=frozenset(removed))
            self._unsettled[draw] = None
            return draw

    def gather(self, draw: Draw, out: BatchMemory) -> None:
        """Copy the samples of an unsettled draw to the beginning of `out`; takes no lock."""
        self._storage.gather(draw.slots, out)

    def settle(self, draw: Draw) -> None:
        """The training step of this draw has ended: its samples are seen, and those it removed make room."""
        with self._changed:
            del self._unsettled[draw]
            for number in draw.slots:
                slot = self._slots[number]
                if not slot.seen:
                    slot.seen = True
                    self._unseen -= 1
                self._unpin(number)
            self._changed.notify_all()

    def peek(self, n: int) -> Mapping[str, torch.Tensor]:
        """Copies of the fields of up to n samples held, by name, [k, *shape]; no draw is counted."""
        with self._changed:
            slots = [number for number, slot in enumerate(self._slots) if slot.filled][:n]
            self._hold(slots)
        rows = self._storage.batch_memory(len(slots), pinned=False)
        try:
            self._storage.gather(slots, rows)
        finally:
            self._release(slots)
        return rows.fields

    def batch_memory(self, batch_size: int, *, pinned: bool) -> BatchMemory:
        """Memory that `gather` can fill."""
        return self._storage.batch_memory(batch_size, pinned=pinned)

    # -- both ---------------------------------------------------------------------------------------------------------

    def population(self) -> Population:
        """The counters."""
        with self._changed:
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

    def close(self, error: BaseException | None = None) -> None:
        """Wake everybody: draws and puts raise, with `error` as the cause. The first call counts."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
            self._changed.notify_all()

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs; unsettled draws count as not made. The lock is not held while samples are copied."""
        with self._changed:
            undone = [n for draw in self._unsettled for n in draw.slots if n in draw.removed]
            slots = [*undone, *self._selector]
            self._hold(slots)
            provisional: dict[int, int] = {}
            for draw in self._unsettled:
                for number in draw.slots:
                    provisional[number] = provisional.get(number, 0) + 1
            state: dict[str, Any] = {
                "num_draws": [self._slots[n].num_draws - provisional.get(n, 0) for n in slots],
                "seen": [self._slots[n].seen for n in slots],
                "puts": self._level.puts,
                "draws": self._level.draws - sum(provisional.values()),
                "evicted": self._evicted,
                "removed": self._removed,
                "reception_over": self._reception_over,
                "rng": self._rng.bit_generator.state,
            }
        rows = self._storage.batch_memory(len(slots), pinned=False)
        try:
            self._storage.gather(slots, rows)
        finally:
            self._release(slots)
        return {**state, "columns": rows.columns, "fields": rows.fields}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, in a buffer that was not used yet.

        Raises:
            ValueError: more samples than the capacity.
        """
        num_samples = len(state["seen"])
        with self._changed:
            assert self._level.puts == 0, "the buffer was used before"
            if num_samples > self._level.capacity:
                raise ValueError(
                    f"the saved buffer holds {num_samples} samples but the capacity is {self._level.capacity}: "
                    "restart with the capacity that it was saved with, or a larger one"
                )
            self._storage.scatter(BatchMemory(**state["columns"], fields=state["fields"]), num_samples)
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
            self._reception_over = state["reception_over"]
            self._rng.bit_generator.state = state["rng"]

    # -- with the lock held -------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise BufferClosedError("the buffer was closed") from self._error

    def _offer(self) -> Offer:
        held = self._gate.held(self._level)
        return Offer(
            available=held if self._reception_over else self._gate.available(self._level),
            held=held,
            put_waits=self._put_waits,
            reception_over=self._reception_over,
        )

    def _has_room(self) -> bool:
        """Whether a put can be made at once."""
        if self._closed or not self._gate.admits(self._level):
            return False
        return self._filled < self._level.capacity or self._evictor.pick(0.0) is not None

    def _wait_for_room(self, timeout_s: float) -> bool:
        if not self._put_waits and not self._closed:
            self._put_waits = True
            self._changed.notify_all()
        self._changed.wait_for(lambda: self._closed or self._has_room(), timeout_s)
        return self._has_room()

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

    def _pin(self, number: int) -> bool:
        """Count one draw of a slot; whether it removed the sample."""
        slot = self._slots[number]
        if slot.pins == 0 and slot.seen:
            self._evictor.discard(number)
        slot.pins += 1
        slot.num_draws += 1
        self._level.draws += 1
        limit = self._draws_until_removed
        slot.removed = (self._draining and self._drain_removes) or (limit is not None and slot.num_draws >= limit)
        if slot.removed:
            self._selector.discard(number)
            self._level.size -= 1
        return slot.removed

    def _unpin(self, number: int) -> None:
        slot = self._slots[number]
        slot.pins -= 1
        if slot.pins:
            return
        if slot.removed:
            self._removed += 1
            self._vacate(number)
        elif slot.seen:
            self._evictor.add(number)

    def _hold(self, slots: Sequence[int]) -> None:
        """Pin slots for a copy that is not a draw."""
        for number in slots:
            slot = self._slots[number]
            if slot.pins == 0 and slot.seen:
                self._evictor.discard(number)
            slot.pins += 1

    # -- without the lock ---------------------------------------------------------------------------------------------

    def _release(self, slots: Sequence[int]) -> None:
        with self._changed:
            for number in slots:
                self._unpin(number)
            self._changed.notify_all()
