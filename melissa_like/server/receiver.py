"""The receiving thread of a server rank: parts in, complete samples committed.

It blocks in two places only: waiting for a message, and committing a complete sample to a buffer that is full of unseen
ones. The second is back-pressure: the solvers feel it, and the launcher is told. A malformed message is counted and
dropped; an exception closes the buffer, so that the trainer's next draw raises it.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from melissa_like.assembly import Assembler, Completed, Placement, Refusal, as_bytes
from melissa_like.errors import ProtocolError
from melissa_like.protocol.wire import Header, Kind, decode
from melissa_like.records import FloatArray, Purpose, SampleKey
from melissa_like.transport import PartReceiver, Target

__all__ = ["Arrival", "Receiver", "Rejection", "SampleSink"]

_WAIT_S = 0.2
_COMMIT_S = 0.05


class SampleSink(Protocol):
    """Where complete samples of one purpose go: the buffer, or the validation set."""

    def commit(
        self, reservation: Any, *, key: SampleKey, time: float, parameters: FloatArray, timeout_s: float
    ) -> bool:
        """Take a sample; False if there was no place within the time."""
        ...


class Arrival(msgspec.Struct, frozen=True):
    """A part was received; `step` if it completed a sample that is now committed."""

    simulation: int
    attempt: int
    step: int | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part was refused because the solver broke its contract."""

    simulation: int
    attempt: int
    reason: str
    message: str


class Receiver:
    """Owns the PULL socket and the assembler, on a thread of its own.

    Args:
        sinks: by purpose.
        tell: takes `Arrival` and `Rejection`; called on the receiving thread, must not block.
        on_error: takes the exception that ended the thread.
    """

    def __init__(
        self,
        *,
        socket: PartReceiver,
        assembler: Assembler,
        sinks: dict[Purpose, SampleSink],
        tell: Callable[[Arrival | Rejection], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._socket = socket
        self._assembler = assembler
        self._sinks = sinks
        self._tell = tell
        self._on_error = on_error
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._header: Header | None = None
        self._placement: Placement | None = None
        self._parameters = np.empty(0, dtype=np.float64)
        self._over: deque[int] = deque()
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

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation; from any thread, takes effect at the next message."""
        self._over.append(simulation)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._receive_one()
                while self._over:
                    self._assembler.forget(self._over.popleft())
        except BaseException as error:
            self._on_error(error)

    def _receive_one(self) -> None:
        self._expect_nothing()
        received = self._socket.receive(self._place, _WAIT_S)
        if received is None:
            return
        header, placement = self._header, self._placement
        if received.fault is not None:
            self._refuse("malformed message", received.fault)
            if placement is not None:
                self._assembler.drop(placement)
            return
        self._count(received.nbytes)
        if placement is not None:
            self._add(placement)
        elif header is not None and header.kind is Kind.OPEN:
            self._heed(self._assembler.open(header, self._parameters.copy()))
        elif header is not None:
            self._tell(Arrival(header.simulation, header.attempt, None))

    def _expect_nothing(self) -> None:
        self._header = self._placement = None

    def _add(self, placement: Placement) -> None:
        """A payload is in its place: commit the sample if it was the last one, and tell."""
        completed = self._assembler.add(placement)
        if completed is None or self._commit(completed):
            self._tell(Arrival(placement.simulation, placement.attempt, None if completed is None else placement.step))

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
            self._parameters = np.empty(header.box.size, dtype=np.float64)
            return as_bytes(self._parameters)
        placed = self._assembler.place(header)
        if isinstance(placed, Refusal):
            if self._heed(placed):
                self._header = header
            return None
        self._placement = placed
        return placed.target

    def _heed(self, refusal: Refusal | None) -> bool:
        """Count a refusal; a fault is told. True if the part still counts as received: the sample was there already."""
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

    def _commit(self, completed: Completed) -> bool:
        sink = self._sinks[completed.purpose]
        started = time.monotonic()
        while not sink.commit(
            completed.reservation,
            key=completed.key,
            time=completed.time,
            parameters=completed.parameters,
            timeout_s=_COMMIT_S,
        ):
            self.put_waits = True
            if self._stopping.is_set():
                return False
        if self.put_waits:
            self.put_waits = False
            self.put_wait_seconds += time.monotonic() - started
        return True

    def _count(self, nbytes: int) -> None:
        self.num_bytes += nbytes
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at
