"""`SampleBuffer`: one lock and its waits around `Occupancy`, and the copies, for which no lock is held."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.copying import SavedRows
from melissa_like.buffer.draws import Draw, Offer, Population
from melissa_like.buffer.kept import KeptSamples
from melissa_like.buffer.occupancy import Occupancy
from melissa_like.buffer.policies import Evictor, Gate, Selector
from melissa_like.buffer.ragged_space import Load
from melissa_like.buffer.reservations import Opened, Reservations
from melissa_like.buffer.slots import SlotArray
from melissa_like.buffer.state import BufferState
from melissa_like.buffer.storage import SampleFields, Storage
from melissa_like.errors import MelissaLikeError
from melissa_like.records import FloatArray, Layout, Sample, SampleKey, StaticFields

__all__ = ["BufferClosedError", "SampleBuffer"]


class BufferClosedError(MelissaLikeError):
    """The buffer was closed; `__cause__` is the error that closed it, if one did."""


class SampleBuffer:
    """A bounded selection of samples; made by a recipe (`fifo`, `firo`, `reservoir`). Any thread may call.

    It is a consumer of complete samples (`melissa_like.assembly.Consumer`): one at a time is reserved and taken.

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
        self._storage = storage
        self._occupancy = Occupancy(
            storage.num_slots,
            capacity=capacity,
            selector=selector,
            evictor=evictor,
            gate=gate,
            draws_until_removed=draws_until_removed,
            drain_removes=drain_removes,
            seed=seed,
            space=storage.space,
        )
        self._lock = threading.RLock()  # entered by itself: half the price of entering the condition
        self._reservations = Reservations(storage, self._occupancy, self._lock)
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._error: BaseException | None = None

    # -- putting ------------------------------------------------------------------------------------------------------

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The newest attempt of a simulation has said its sizes; what is reserved from now on is of these."""
        self._reservations.begin(simulation, layout)

    def reserve(self, simulation: int, attempt: int, step: int) -> SampleFields:
        """Memory to assemble a sample in; never blocks. With all spare slots reserved it is memory of its own.

        Asked again for the same step it gives the same: a newer attempt overwrites what was incomplete of the older,
        unless it has other sizes.
        """
        return self._reservations.reserve(simulation, step)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        """Add a sample that is complete in its reserved memory, evicting others if need be.

        Blocks while there is no room, `timeout_s` at most.

        Returns:
            Its key; None: there was no room in time, and the call can be made again.

        Raises:
            BufferClosedError: closed before or meanwhile.
            ConfigurationError: it takes more bytes than there are.
            KeyError: nothing was reserved for it.
        """
        key = sample.key
        where = (key.simulation, key.step)
        time = sample.time if sample.times is None else sample.times
        if not self._add(self._reservations.of(where), key, time, sample.parameters, sample.static, timeout_s):
            return None
        self._reservations.end(where)
        return (key,)

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: what is reserved for it is free again."""
        self._reservations.forget(simulation)

    def give_back(self, simulation: int, step: int) -> None:
        """A sample will not be taken: what is reserved for it, if anything is, is free again."""
        self._reservations.give_back((simulation, step))

    def put(
        self,
        key: SampleKey,
        fields: Sequence[npt.NDArray[Any]],
        *,
        time: float | FloatArray,
        parameters: FloatArray,
        timeout_s: float,
        static: StaticFields | None = None,
    ) -> bool:
        """Copy a sample into the buffer: for what is not received, as in a test; blocks and raises as `take`.

        Returns:
            False: there was no room in time.
        """
        opened = self._reservations.open(None if static is None else static.extents)
        for target, source in zip(opened.fields, fields, strict=True):
            np.copyto(target, source)
        done = self._add(opened, key, time, parameters, static, timeout_s)
        if not done:
            self._reservations.abandon(opened)
        return done

    def end_reception(self) -> None:
        """Nothing more will be put: the watermark is lifted, and the buffer is drained."""
        with self._lock:
            self._occupancy.reception_over = True
            self._changed.notify_all()

    def _add(
        self,
        opened: Opened,
        key: SampleKey,
        time: float | FloatArray,
        parameters: FloatArray,
        static: StaticFields | None,
        timeout_s: float,
    ) -> bool:
        slot, fields = opened.slot, opened.fields
        if slot is None:
            load = self._storage.load_of(static)
            with self._lock:
                if not self._wait_for_room(timeout_s, load):
                    return False
                slot = self._occupancy.admit(None, load)
                if self._occupancy.is_bare:  # what was on offer must not be missing meanwhile
                    self._storage.write(slot, fields, key, time, parameters, opened=False, static=static)
                    self._fill(slot, opened)
                    return True
            self._storage.write(slot, fields, key, time, parameters, opened=False, static=static)
            with self._lock:
                self._fill(slot, opened)
            return True
        if not opened.is_written:
            # Nobody reads a reserved slot: it can be written before there is room, under one lock less.
            self._storage.write(slot, fields, key, time, parameters, opened=True)
            opened.is_written = True
        with self._lock:
            if not self._wait_for_room(timeout_s):
                return False
            self._occupancy.fill(self._occupancy.admit(slot))
            self._changed.notify_all()
        return True

    def _fill(self, slot: int, opened: Opened) -> None:
        """With the lock held."""
        self._occupancy.fill(slot)
        self._reservations.keep(opened)
        self._changed.notify_all()

    def _wait_for_room(self, timeout_s: float, load: Load | None = None) -> bool:
        """With the lock held."""
        self._check_open()
        if self._occupancy.has_room(load):
            return True
        has_room = self._changed.wait_for(lambda: self._closed or self._finds_room(load), timeout_s)
        self._check_open()
        return has_room

    def _finds_room(self, load: Load | None) -> bool:
        """With the lock held: whether there is room; if not, that a put waits is told."""
        if self._occupancy.has_room(load):
            return True
        if not self._occupancy.put_waits:
            self._occupancy.put_waits = True
            self._changed.notify_all()  # another rank's gate may have to open
        return False

    # -- drawing ------------------------------------------------------------------------------------------------------

    def offer(self) -> Offer:
        """What can be drawn now. The draws that follow keep to it: only puts can come in between, and draws begin to
        drain the buffer after the first offer that says that reception is over.

        Raises:
            BufferClosedError: closed.
        """
        with self._lock:
            self._check_open()
            if self._occupancy.reception_over:
                self._occupancy.drain()
            return self._occupancy.offer()

    def wait(self, until: Callable[[Offer], bool], timeout_s: float) -> None:
        """Block until an offer would satisfy `until`, or for `timeout_s`.

        Raises:
            BufferClosedError: closed before or meanwhile.
        """
        with self._lock:
            self._changed.wait_for(lambda: self._closed or until(self._occupancy.offer()), timeout_s)
            self._check_open()

    def draw(self, n: int, *, gate_lifted: bool = False) -> Draw:
        """Draw n samples, provisionally; does not block.

        Args:
            n: samples.
            gate_lifted: ignore the watermark.

        Raises:
            BufferClosedError: closed.
            ValueError: more than is on offer.
        """
        with self._lock:
            self._check_open()
            most = self._occupancy.most(gate_lifted=gate_lifted)
            if n > most:
                raise ValueError(f"a draw of {n} samples but {most} are on offer: draw no more than was offered")
            return self._occupancy.draw(n)

    def gather(self, draw: Draw, out: Any) -> None:
        """Copy the samples of an unsettled draw to the beginning of `out`; takes no lock."""
        self._storage.gather(draw.slots, out)

    def settle(self, draw: Draw) -> None:
        """The training step of this draw has ended: its samples are seen, and those it removed make room."""
        with self._lock:
            self._occupancy.settle(draw)
            self._changed.notify_all()

    def peek(self, n: int) -> Any:
        """Copies on the host of up to n samples, from all over the buffer; no draw is counted."""
        with self._lock:
            slots = self._occupancy.some_filled(n)
            hold = self._occupancy.hold(slots)
        try:
            out = self._storage.host_memory(len(slots))
            self._storage.read(slots, out)
        finally:
            with self._lock:
                self._occupancy.release(hold)
                self._changed.notify_all()
        return out

    @property
    def layout(self) -> Layout:
        """What a time step consists of."""
        return self._storage.layout

    @property
    def device(self) -> torch.device:
        """Where the samples lie, and so the memory that `gather` can fill."""
        return self._storage.device

    def batch_memory(self, batch_size: int, *, pinned: bool) -> Any:
        """Memory that `gather` can fill; pinned, if it is the host's."""
        return self._storage.batch_memory(batch_size, pinned=pinned)

    # -- both ---------------------------------------------------------------------------------------------------------

    def population(self) -> Population:
        """The counters."""
        with self._lock:
            return self._occupancy.population()

    def close(self, error: BaseException | None = None) -> None:
        """Wake everybody: draws and puts raise, with `error` as the cause. The first call counts."""
        with self._lock:
            if not self._closed:
                self._closed, self._error = True, error
            self._changed.notify_all()

    def keep(self) -> KeptSamples:
        """All samples as they are now, for a checkpoint; unsettled draws count as not made. Copies none.

        What is kept can be drawn, but does not give way before it is copied or let go. One checkpoint at a time.
        """
        with self._lock:
            slots, state = self._occupancy.keep()
        loads = None if self._storage.space is None else self._storage.space.loads(slots)
        state = replace(state, keys=self._storage.keys(slots), loads=loads)
        return KeptSamples(state, slots, storage=self._storage, let_go=self._let_go)

    def restore(self, state: BufferState, samples: Iterable[SavedRows]) -> None:
        """Go on from a saved state, in a buffer that was not used yet.

        Args:
            state: of a buffer with the same layout and recipe.
            samples: its samples, in pieces in host memory; one is asked for when the last one is copied.

        Raises:
            ValueError: more samples than the capacity, or another number than the state says.
        """
        with self._lock:
            self._occupancy.restore(state)
        first = 0
        for piece in samples:
            self._storage.restore(first, piece)
            first += len(piece.labels)
        if first != state.size:
            raise ValueError(f"{first} samples came of a buffer that held {state.size}: give all of them")
        with self._lock:
            self._occupancy.restored()

    def _let_go(self, slots: SlotArray) -> None:
        with self._lock:
            self._occupancy.let_go(slots)
            self._changed.notify_all()

    def _check_open(self) -> None:
        """With the lock held."""
        if self._closed:
            raise BufferClosedError("the buffer was closed") from self._error
