"""`ZmqOutlet`: a PUSH socket that sends from a pool of reused buffers (a fresh large one costs its page faults again).

ZeroMQ's high-water mark counts messages, so the bound on bytes is kept here: a buffer counts as in flight until ZeroMQ
gives it back.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import zmq

from melissa_like.transport.zmq_sockets import Socket

__all__ = ["InFlight", "ZmqOutlet"]

_MESSAGE_OVERHEAD_BYTES = 512  # what ZeroMQ holds besides: it is most of a small message


@dataclass(slots=True)
class _Sent:
    """Bytes that have left when the tracker is done, and the buffer that is then free again."""

    tracker: zmq.MessageTracker
    nbytes: int
    buffer: bytearray | None


class InFlight:
    """What ZeroMQ has not written out yet, of all outlets of a sender, and the buffers that it gave back.

    Args:
        budget_bytes: bound on them, headers and indices included.
        num_outlets: how many share it.
    """

    def __init__(self, budget_bytes: int, num_outlets: int) -> None:
        self._budget_bytes = budget_bytes
        self._sent: tuple[deque[_Sent], ...] = tuple(deque() for _ in range(num_outlets))
        self._pool = _BufferPool(budget_bytes)
        self.nbytes = 0

    def has_room(self, nbytes: int) -> bool:
        """Whether a message may leave; with nothing in flight any may."""
        self.reclaim()
        return self.nbytes == 0 or self.nbytes + nbytes + _MESSAGE_OVERHEAD_BYTES <= self._budget_bytes

    def exchange(self, unsent: bytearray | None, nbytes: int) -> bytearray:
        """A buffer for the next message, for one that was not sent."""
        if unsent is not None:
            self._pool.give(unsent)
        return self._pool.take(nbytes)

    def add(self, outlet: int, tracker: object, nbytes: int, buffer: bytearray | None) -> None:
        """A message is with ZeroMQ."""
        assert isinstance(tracker, zmq.MessageTracker)
        self.nbytes += nbytes + _MESSAGE_OVERHEAD_BYTES
        self._sent[outlet].append(_Sent(tracker, nbytes + _MESSAGE_OVERHEAD_BYTES, buffer))

    def reclaim(self) -> None:
        """Take back what has been written out: in order for each outlet."""
        for waiting in self._sent:
            while waiting and waiting[0].tracker.done:
                gone = waiting.popleft()
                self.nbytes -= gone.nbytes
                if gone.buffer is not None:
                    self._pool.give(gone.buffer)


class ZmqOutlet:
    """See `Outlet`.

    Args:
        socket: a PUSH that is connected to a server rank.
        in_flight: shared by all outlets of the sender.
        number: of this one among them.
        bundle_nbytes: see `Outlet`.
    """

    def __init__(self, socket: Socket, in_flight: InFlight, number: int, *, bundle_nbytes: int) -> None:
        self.bundle_nbytes = bundle_nbytes
        self._in_flight = in_flight
        self._number = number
        self._buffer: bytearray | None = None
        self._socket = socket
        self._socket.copy_threshold = 0  # what is sent without a copy here shall be

    def open(self, nbytes: int) -> memoryview | None:
        """See `Outlet`."""
        if not self._in_flight.has_room(nbytes):
            return None
        if self._buffer is None or len(self._buffer) != nbytes:
            self._buffer = self._in_flight.exchange(self._buffer, nbytes)
        return memoryview(self._buffer)

    def send(self, frames: Sequence[bytes], nbytes: int) -> None:
        """See `Outlet`."""
        buffer = self._buffer
        assert buffer is not None, "opened before"
        for frame in frames:
            self._socket.send(frame, zmq.SNDMORE)
        frames_nbytes = sum(map(len, frames))  # the index of a bundle may be larger than its body
        if 4 * nbytes < len(buffer):  # too little to give the buffer away: it stays open
            self._track(bytes(memoryview(buffer)[:nbytes]), frames_nbytes + nbytes, None)
        else:
            self._buffer = None
            self._track(memoryview(buffer)[:nbytes], frames_nbytes + len(buffer), buffer)

    def send_notice(self, frames: Sequence[bytes]) -> None:
        """Send a message whose payload travels another way; it does not count as in flight."""
        self._socket.send_multipart(frames)

    @property
    def is_flushed(self) -> bool:
        """See `Outlet`; what all outlets of the sender have sent has left then."""
        self._in_flight.reclaim()
        return self._in_flight.nbytes == 0

    def close(self, linger_s: float) -> None:
        """See `Outlet`."""
        self._socket.close(linger=int(1000 * linger_s))

    def _track(self, payload: bytes | memoryview, nbytes: int, buffer: bytearray | None) -> None:
        tracker = self._socket.send(payload, copy=False, track=True)
        self._in_flight.add(self._number, tracker, nbytes, buffer)


class _BufferPool:
    """Buffers that were used before: their pages exist. Bounded, because a decomposition may change at every step."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._by_size: dict[int, list[bytearray]] = {}

    def take(self, nbytes: int) -> bytearray:
        """A buffer of this size: the one given back last, which the caches may still hold."""
        held = self._by_size.get(nbytes)
        if not held:
            return bytearray(nbytes)
        self._held_bytes -= nbytes
        return held.pop()

    def give(self, buffer: bytearray) -> None:
        """Keep a buffer, and forget the others if they are too much."""
        if self._held_bytes + len(buffer) > self._limit_bytes:
            self._by_size.clear()
            self._held_bytes = 0
        self._by_size.setdefault(len(buffer), []).append(buffer)
        self._held_bytes += len(buffer)
