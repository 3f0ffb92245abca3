"""PUSH/PULL: the ends for parts of fields.

Payloads are sent without a copy from a pool of reused buffers (a fresh large buffer costs its page faults again) and
received straight into place. ZeroMQ's high-water mark counts messages, so the bound on bytes is kept here: a buffer
counts as in flight until ZeroMQ gives it back.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from melissa_like.transport.interface import Received
from melissa_like.transport.shared_memory import Mappings, Probe
from melissa_like.transport.wakeup import sleep_until
from melissa_like.transport.zmq_sockets import MORE, Arrivals, Socket, bind, set_options

__all__ = ["ZmqPartReceiver", "ZmqPartSender"]

_HEADER_LIMIT = 4096
_COPIED_BELOW_BYTES = 32 * 1024
_MARK_EVERY_BYTES = 2**20
_MESSAGE_OVERHEAD_BYTES = 512  # what ZeroMQ holds besides: it is most of a small message


@dataclass(slots=True)
class _InFlight:
    """Bytes that have left when the tracker is done, headers included, and the buffer that is then free again."""

    tracker: zmq.MessageTracker
    nbytes: int
    buffer: bytearray | None


class ZmqPartSender:
    """Small payloads are copied by ZeroMQ, which is cheaper than tracking each, large ones are sent from a pool.

    What was copied counts as in flight until the next mark is out: an empty message behind it, which is tracked.
    """

    def __init__(self, context: zmq.Context[Socket], endpoints: Sequence[str], budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._mark_every_bytes = min(budget_bytes // 8, _MARK_EVERY_BYTES)
        self._in_flight: tuple[deque[_InFlight], ...] = tuple(deque() for _ in endpoints)
        self._in_flight_bytes = 0
        self._unmarked_bytes = [0] * len(endpoints)
        self._small = bytearray(_COPIED_BELOW_BYTES)
        self._free = _BufferPool(budget_bytes)
        self._sockets = []
        for endpoint in endpoints:
            socket = context.socket(zmq.PUSH)
            set_options(socket)
            socket.setsockopt(zmq.SNDHWM, 0)  # the bound is in bytes, below
            socket.copy_threshold = 0  # what is sent without a copy here shall be
            socket.connect(endpoint)
            self._sockets.append(socket)

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        weight = len(header) + nbytes + _MESSAGE_OVERHEAD_BYTES
        if not self._wait_for(lambda: self._has_room(weight), timeout_s):
            return False
        self._in_flight_bytes += weight
        socket = self._sockets[destination]
        if nbytes < _COPIED_BELOW_BYTES:
            payload = memoryview(self._small)[:nbytes]
            fill(payload)
            socket.send(header, zmq.SNDMORE)
            socket.send(payload)
            self._unmarked_bytes[destination] += weight
            if self._unmarked_bytes[destination] >= self._mark_every_bytes:
                self._mark(destination)
            return True
        buffer = self._free.take(nbytes)
        fill(memoryview(buffer))
        socket.send(header, zmq.SNDMORE)
        self._track(destination, socket.send(buffer, copy=False, track=True), weight, buffer)
        return True

    def send_notice(self, destination: int, header: bytes, notice: bytes) -> None:
        """Queue a message whose payload travels another way; it does not count as in flight."""
        self._sockets[destination].send_multipart((header, b"", notice))

    def flush(self, timeout_s: float) -> bool:
        return self._wait_for(lambda: self._in_flight_bytes == 0, timeout_s)

    def close(self, linger_s: float) -> None:
        for socket in self._sockets:
            socket.close(linger=int(1000 * linger_s))

    def _has_room(self, nbytes: int) -> bool:
        return self._in_flight_bytes == 0 or self._in_flight_bytes + nbytes <= self._budget_bytes

    def _wait_for(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        self._reclaim()
        if ready():
            return True
        for destination, nbytes in enumerate(self._unmarked_bytes):
            if nbytes:
                self._mark(destination)

        def reclaimed() -> bool:
            self._reclaim()
            return ready()

        return sleep_until(reclaimed, timeout_s)

    def _mark(self, destination: int) -> None:
        socket = self._sockets[destination]
        socket.send(b"", zmq.SNDMORE)
        nbytes, self._unmarked_bytes[destination] = self._unmarked_bytes[destination], 0
        self._track(destination, socket.send(b"", copy=False, track=True), nbytes, None)

    def _track(self, destination: int, tracker: object, nbytes: int, buffer: bytearray | None) -> None:
        assert isinstance(tracker, zmq.MessageTracker)
        self._in_flight[destination].append(_InFlight(tracker, nbytes, buffer))

    def _reclaim(self) -> None:
        """Take back what ZeroMQ has written out: in order for each destination."""
        for waiting in self._in_flight:
            while waiting and waiting[0].tracker.done:
                gone = waiting.popleft()
                self._in_flight_bytes -= gone.nbytes
                if gone.buffer is not None:
                    self._free.give(gone.buffer)


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


class ZmqPartReceiver:
    def __init__(
        self,
        context: zmq.Context[Socket],
        host: str,
        queue_length: int,
        *,
        max_nbytes: int | None,
        shares_memory: bool,
    ) -> None:
        self._socket = context.socket(zmq.PULL)
        set_options(self._socket)
        self._socket.setsockopt(zmq.RCVHWM, queue_length)
        self._socket.setsockopt(zmq.MAXMSGSIZE, -1 if max_nbytes is None else max(max_nbytes, _HEADER_LIMIT))
        self.endpoint = bind(self._socket, f"tcp://{host}:*")
        self._mappings = Mappings()
        self._probe = Probe() if shares_memory else None
        if self._probe is not None:
            self.endpoint = self._probe.extend(self.endpoint)
        self._arrivals = Arrivals(self._socket)

    def receive(self, place: Callable[[bytes], memoryview | None], timeout_s: float) -> Received | None:
        while True:
            header = self._next_header(timeout_s)
            if header is None:
                return None
            if not self._socket.getsockopt(MORE):
                return Received(header=header[:_HEADER_LIMIT], nbytes=0, fault="the message has no payload frame")
            try:
                target = place(header) if header else None
                nbytes, fault = self._payload(target)
                if self._socket.getsockopt(MORE):
                    nbytes, fault = self._mappings.read(self._drain(), target)
            finally:
                self._drain()  # an exception of `place` leaves the rest of the message behind
            if header:  # else it is a mark of the sender
                return Received(header=header, nbytes=nbytes, fault=fault)

    def _next_header(self, timeout_s: float) -> bytes | None:
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return self._socket.recv() if self._arrivals.wait(timeout_s) else None

    def wake(self) -> None:
        self._arrivals.wake()

    def close(self) -> None:
        self._socket.close(linger=0)
        self._arrivals.close()
        self._mappings.close()
        if self._probe is not None:
            self._probe.close()

    def _payload(self, target: memoryview | None) -> tuple[int, str | None]:
        if target is None:
            return len(self._socket.recv(copy=False)), None
        # recv_into tells the true length, even where it truncates; it refuses an empty buffer.
        nbytes = self._socket.recv_into(target) if target.nbytes else len(self._socket.recv(copy=False))
        if nbytes != target.nbytes:
            return nbytes, f"the payload has {nbytes} bytes, {target.nbytes} were expected"
        return nbytes, None

    def _drain(self) -> list[bytes]:
        """Consume what is left of the present message, so that the next one is read from its start."""
        frames = []
        while self._socket.getsockopt(MORE):
            frames.append(self._socket.recv())
        return frames
