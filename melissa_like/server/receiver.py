"""The receiving thread of a server rank: parts in, complete samples to the consumer of their purpose.

It blocks in two places only: waiting for a message, and handing a complete sample to a buffer that is full of unseen
ones. The second is back-pressure: the solvers feel it, and the launcher is told. A malformed message is counted and
dropped; an exception closes the buffer, so that the trainer's next draw raises it.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from melissa_like.assembly import (
    Assembler,
    Consumer,
    OncePlacement,
    Placement,
    Reason,
    Refusal,
    UnfitWindowError,
    as_bytes,
)
from melissa_like.errors import DeadlineExceededError, ProtocolError, UnfitSampleError
from melissa_like.protocol.control import UnfitSample
from melissa_like.protocol.wire import Header, Kind, decode
from melissa_like.records import Purpose, Sample, SampleKey
from melissa_like.transport import PartReceiver, Target

__all__ = ["Arrival", "Receiver", "Rejection"]

Found = TypeVar("Found")

_WAIT_S = 0.2
_TAKE_S = 0.05
_MOST_QUOTED = 20


class Arrival(msgspec.Struct, frozen=True):
    """A part was received.

    Attributes:
        steps: keys of the samples of its simulation that are delivered with it; mostly none or one.
        dropped: keys of those that were complete with it and are given up by themselves.
        held: the time step that was complete with it, if another attempt need not send it again.
        counts: it counts as received.
    """

    simulation: int
    attempt: int
    steps: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part was refused because the solver broke its contract."""

    simulation: int
    attempt: int
    reason: str
    message: str


class _Errand:
    """A function to be called on the receiving thread, and what became of it."""

    def __init__(self, look: Callable[[Collection[SampleKey]], Any]) -> None:
        self._look = look
        self.done = threading.Event()
        self.found: Any = None
        self.error: Exception | None = None

    def run(self, undelivered: Collection[SampleKey]) -> None:
        try:
            self.found = self._look(undelivered)
        except Exception as error:  # the one who asked is told
            self.error = error
        self.done.set()


class Receiver:
    """Owns the PULL socket and the assembler, on a thread of its own.

    Args:
        consumers: of complete samples, by purpose. It closes none of them.
        tell: takes `Arrival`, `Rejection` and `UnfitSample`; called on the receiving thread, must not block.
        on_error: takes the exception that ended the thread.
        handed_over: samples that are delivered of a time step of which others still wait for room.
        tells_held: whether time steps are told that windows which are not complete have, because others may use them.
    """

    def __init__(
        self,
        *,
        socket: PartReceiver,
        assembler: Assembler,
        consumers: Mapping[Purpose, Consumer],
        tell: Callable[[Arrival | Rejection | UnfitSample], None],
        on_error: Callable[[BaseException], None],
        handed_over: Callable[[], Collection[SampleKey]] = tuple,
        tells_held: bool = False,
    ) -> None:
        self._socket = socket
        self._assembler = assembler
        self._consumers = consumers
        self._tell = tell
        self._on_error = on_error
        self._handed_over = handed_over
        self._tells_held = tells_held
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._header: Header | None = None
        self._placement: Placement | None = None
        self._once: OncePlacement | None = None
        self._opening = np.empty(0, dtype=np.float64)
        self._lost: tuple[int, int] | None = None  # simulation and attempt told last
        self._over: deque[int] = deque()
        self._errands: deque[_Errand] = deque()
        self._undelivered: set[SampleKey] = set()  # complete, and held back by a consumer or dropped
        self._unfit: dict[int, int] = {}  # the attempt that was told to have sent an unfit sample, by simulation
        self._num_unfit = 0
        self.highest_step = -1
        self.put_waits = False
        self.num_bytes = 0
        self.put_wait_seconds = 0.0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.refused: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread and close the socket.

        Raises:
            AssertionError: the thread did not end in time.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._socket.wake()
            self._thread.join(timeout_s)
            assert not self._thread.is_alive(), "the receiving thread did not end"
        self._socket.close()

    def between_samples(self, look: Callable[[Collection[SampleKey]], Found], timeout_s: float) -> Found:
        """What a function finds that the receiving thread calls when it is not at a sample; from any other thread.

        Blocks until then: as long as a message takes, and a consumer takes for a sample that it has room for. The
        function is given the keys of samples that are complete and not delivered: of the one that waits for room, of
        those that a consumer holds back, and of those that were dropped, until their simulation is over.

        Raises:
            DeadlineExceededError: the receiving thread has ended, or did not come to it within `timeout_s`.
            Exception: what the function raises.
        """
        errand = _Errand(look)
        self._errands.append(errand)
        self._socket.wake()
        deadline = time.monotonic() + timeout_s
        while not errand.done.wait(_WAIT_S):
            has_ended = not self._thread.is_alive() and not errand.done.is_set()
            if has_ended or (time.monotonic() >= deadline and self._withdraw(errand)):
                raise DeadlineExceededError(
                    f"the receiving thread did not pause within {timeout_s:g} s: it has ended, or a consumer "
                    "(training.consumers) takes longer for a sample"
                )
        if errand.error is not None:
            raise errand.error
        found: Found = errand.found
        return found

    def _withdraw(self, errand: _Errand) -> bool:
        """Whether it had not begun; else it is waited for, because what it finds must not be lost."""
        try:
            self._errands.remove(errand)
        except ValueError:
            return False
        return True

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation; from any thread, takes effect at the next message."""
        self._over.append(simulation)

    def refusals(self) -> dict[str, int]:
        """Parts and connections that were refused, by reason; from any thread."""
        return dict(self.refused) | dict(self._socket.refused)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._receive_one()
                if self._errands:
                    self._run_errands()
                while self._over:
                    self._forget(self._over.popleft())
        except BaseException as error:
            self._on_error(error)

    def _forget(self, simulation: int) -> None:
        for key in [key for key in self._undelivered if key.simulation == simulation]:
            self._assembler.take_back(key)
            self._undelivered.remove(key)
        self._assembler.forget(simulation)
        self._unfit.pop(simulation, None)

    def _run_errands(self, *waiting: SampleKey) -> None:
        while self._errands:
            self._errands.popleft().run({*self._undelivered, *waiting}.difference(self._handed_over()))

    def _receive_one(self) -> None:
        self._expect_nothing()
        received = self._socket.receive(self._place, _WAIT_S)
        if received is None:
            return
        header, placement = self._header, self._placement
        if received.fault is not None:
            self._lose(received.fault)
            return
        self._count(received.nbytes)
        if placement is not None:
            self._add(placement)
        elif self._once is not None:
            self._add_once(self._once)
        elif header is not None and header.kind is Kind.OPEN:
            self._heed(self._assembler.open(header, self._opening.copy()))
        elif header is not None:
            self._tell(Arrival(header.simulation, header.attempt))

    def _lose(self, fault: str) -> None:
        """A payload did not come as its header had announced it: the attempt it is of cannot become complete."""
        self._refuse("malformed message", fault)
        header, placement = self._header, self._placement
        if placement is not None:
            self._assembler.drop(placement)
            self._tell_lost(placement.simulation, placement.attempt, fault)
        elif header is not None and (header.kind is Kind.OPEN or self._once is not None):
            self._tell_lost(header.simulation, header.attempt, fault)

    def _tell_lost(self, simulation: int, attempt: int, fault: str) -> None:
        """Once in a row for each attempt: a bundle may hold thousands of parts."""
        if self._lost != (simulation, attempt):
            self._lost = simulation, attempt
            reason = Reason.UNREADABLE.value
            self._tell(Rejection(simulation, attempt, reason, f"it came {reason}: {fault}"))

    def _expect_nothing(self) -> None:
        self._header = self._placement = self._once = None

    def _add(self, placement: Placement) -> None:
        """A payload is in its place: hand the sample over if it was the last one, and tell."""
        sample = self._assembler.add(placement)
        if placement.step > self.highest_step:
            self.highest_step = placement.step
        if sample is None:
            self._tell(Arrival(placement.simulation, placement.attempt))
        else:
            self._pass_on(sample)

    def _add_once(self, placement: OncePlacement) -> None:
        """What is sent once has come; time steps that waited for it are handed over before it counts as received.

        Else the simulation might be settled before they are.
        """
        header = placement.header
        if not self._heed(self._assembler.add_once(placement)):
            return
        is_sound = True
        while (sample := self._assembler.next_waiting(header.simulation)) is not None:
            is_sound = self._pass_on(sample, counts=False) and is_sound
        if is_sound:
            self._tell(Arrival(header.simulation, header.attempt))

    def _pass_on(self, sample: Sample, *, counts: bool = True) -> bool:
        """Hand a sample over, and tell; whether its attempt may go on.

        Args:
            sample: complete.
            counts: with it a part has come that counts as received.
        """
        try:
            keys = self._hand_over(sample)
        except UnfitSampleError as error:
            return self._leave_out(sample, error, counts=counts)
        if keys is not None:
            steps = tuple([key.step for key in keys])
            held = self._held_by(sample) if self._tells_held else ()
            self._tell(Arrival(sample.key.simulation, sample.attempt, steps, held=held, counts=counts))
        return True

    def _held_by(self, sample: Sample) -> tuple[int, ...]:
        step, windows = sample.key.step, sample.windows
        return () if windows is None or step in windows.spent else (step,)

    def _leave_out(self, sample: Sample, error: UnfitSampleError, *, counts: bool) -> bool:
        """A sample that is complete and must not be learned from; the first ones go into the rank's log.

        Returns:
            Whether it alone is given up, and its attempt may go on.
        """
        simulation, attempt = sample.key.simulation, sample.attempt
        self._num_unfit += 1
        if self._num_unfit <= _MOST_QUOTED:
            sys.stderr.write(f"a sample was left out (of more than {_MOST_QUOTED} nothing is written here): {error}\n")
        delivered, lost = (error.delivered, error.lost) if isinstance(error, UnfitWindowError) else ((), None)
        there = tuple([key.step for key in delivered])
        if error.drops:
            dropped = self._assembler.give_up(sample) if lost is None else lost
            self._undelivered.update([*_samples_with(sample), *(SampleKey(simulation, first) for first in dropped)])
            self._undelivered.difference_update(delivered)
            self._tell(Arrival(simulation, attempt, there, dropped, counts=counts))
            return True
        # Its last part does not count as received: the attempt must fail with the message and not be settled before.
        self._assembler.retract(sample, there)
        if there:
            self._undelivered.difference_update(delivered)
            self._tell(Arrival(simulation, attempt, there, counts=False))
        if self._unfit.get(simulation) != attempt:  # of an attempt that has failed there may be thousands more
            self._unfit[simulation] = attempt
            self._tell(UnfitSample(simulation=simulation, attempt=attempt, message=str(error)))
        return False

    def _place(self, encoded: bytes) -> Target | None:
        """Where the payload of this header goes; None discards it."""
        placement = self._assembler.place_again(encoded)
        if placement is not None:
            self._placement = placement
            return placement.target
        try:
            header = decode(encoded)
        except ProtocolError as error:
            self._refuse("malformed header", str(error))
            return None
        if header.kind is Kind.OPEN:
            refusal = self._assembler.refuse_open(header)
            if refusal is not None:
                self._heed(refusal)
                return None
            self._header = header
            self._opening = np.empty(header.box.size, dtype=np.float64)
            return as_bytes(self._opening)
        placed = self._place_once(header) if header.kind.is_sent_once else self._assembler.place(header)
        if isinstance(placed, Refusal):
            if self._heed(placed):
                self._header = header
            return None
        if isinstance(placed, Placement):
            self._placement = placed
        return placed.target

    def _place_once(self, header: Header) -> OncePlacement | Refusal:
        placed = self._assembler.place_once(header)
        if not isinstance(placed, Refusal):
            self._header, self._once = header, placed
        return placed

    def _heed(self, refusal: Refusal | None) -> bool:
        """Count a refusal; a fault is told. True if the part still counts as received: it is not needed any more."""
        if refusal is None:
            return True
        self._refuse(refusal.reason.value, refusal.message)
        if refusal.is_fault:
            self._tell(Rejection(refusal.simulation, refusal.attempt, refusal.reason.value, refusal.message))
        return refusal.counts_as_received

    def _refuse(self, reason: str, message: str) -> None:
        """Count; the first of each reason goes into the rank's log, for there may be millions."""
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            sys.stderr.write(f"a part was refused ({reason}; more are only counted): {message}\n")

    def _hand_over(self, sample: Sample) -> tuple[SampleKey, ...] | None:
        """The keys delivered, however long its consumer has no room; None if the thread is to end meanwhile."""
        consumer = self._consumers[sample.purpose]
        started = time.monotonic()
        while (keys := consumer.take(sample, _TAKE_S)) is None:
            self.put_waits = True
            if self._errands:
                self._run_errands(*_samples_with(sample))
            if self._stopping.is_set():
                return None
        if self.put_waits:
            self.put_waits = False
            self.put_wait_seconds += time.monotonic() - started
        if len(keys) != 1 or keys[0] is not sample.key:
            self._undelivered.update(_samples_with(sample))  # a consumer may deliver it later, with others
            self._undelivered.difference_update(keys)
        for key in keys:
            if key.simulation != sample.key.simulation:
                raise ValueError(
                    f"{type(consumer).__name__} took {sample.key} and says that it delivered {key}: return keys of the "
                    "same simulation"
                )
        return keys

    def _count(self, nbytes: int) -> None:
        self.num_bytes += nbytes
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at


def _samples_with(sample: Sample) -> tuple[SampleKey, ...]:
    """The samples that are complete with a time step: itself, or windows."""
    if sample.windows is None:
        return (sample.key,)
    return tuple([SampleKey(sample.key.simulation, first) for first in sample.windows.complete])
