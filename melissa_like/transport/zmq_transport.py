"""ZeroMQ over TCP: PUSH/PULL for parts, DEALER/ROUTER for control messages.

Payloads are sent without a copy from a pool of reused buffers (a fresh large buffer costs its page faults again) and
received straight into place. ZeroMQ's high-water mark counts messages, so the bound on bytes is kept here: a buffer
counts as in flight until ZeroMQ gives it back.
"""

import errno
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from melissa_like.errors import TransportError
from melissa_like.transport.interface import Received
from melissa_like.transport.wakeup import Wakeup

__all__ = ["ZmqTransport"]

_SHORTEST_SLEEP_S = 0.0001
_LONGEST_SLEEP_S = 0.005
_KEEP_ALIVE = ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 60), (zmq.TCP_KEEPALIVE_INTVL, 20))
_HEADER_LIMIT = 4096
_MORE = int(zmq.RCVMORE)  # a plain number costs pyzmq 0.8 us, the name 1.9 us; it is asked for twice per message
_COPIED_BELOW_BYTES = 32 * 1024
_MARK_EVERY_BYTES = 2**20


class ZmqTransport:
    """Owns the ZeroMQ context of a process.

    Args:
        host: address under which this process is reached by the others.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._context = zmq.Context()

    def part_sender(self, endpoints: Sequence[str], *, budget_bytes: int) -> "_ZmqPartSender":
        """See `Transport.part_sender`."""
        return _ZmqPartSender(self._context, endpoints, budget_bytes)

    def part_receiver(self, *, queue_length: int) -> "_ZmqPartReceiver":
        """See `Transport.part_receiver`."""
        return _ZmqPartReceiver(self._context, self._host, queue_length)

    def control_server(self, address: str | None = None) -> "_ZmqControlServer":
        """See `Transport.control_server`."""
        return _ZmqControlServer(self._context, address or f"tcp://{self._host}:*")

    def control_client(self, endpoint: str, identity: bytes) -> "_ZmqControlClient":
        """See `Transport.control_client`."""
        return _ZmqControlClient(self._context, endpoint, identity)

    def close(self) -> None:
        """Destroy the context; every socket is closed before."""
        self._context.destroy(linger=0)


def _bind(socket: "zmq.Socket[bytes]", address: str) -> str:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        why = "is taken" if error.errno in (errno.EADDRINUSE, zmq.EADDRINUSE) else f"cannot be opened ({error})"
        raise TransportError(
            f"{address} {why}: choose another transport.port (0 takes a free one), or a transport.host of this machine"
        ) from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _options(socket: "zmq.Socket[bytes]") -> None:
    socket.setsockopt(zmq.LINGER, 0)
    for option, value in _KEEP_ALIVE:
        socket.setsockopt(option, value)


@dataclass(slots=True)
class _InFlight:
    """Bytes that have left when the tracker is done, headers included, and the buffer that is then free again."""

    tracker: zmq.MessageTracker
    nbytes: int
    buffer: bytearray | None


class _ZmqPartSender:
    """Small payloads are copied by ZeroMQ, which is cheaper than tracking each, large ones are sent from a pool.

    What was copied counts as in flight until the next mark is out: an empty message behind it, which is tracked.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoints: Sequence[str], budget_bytes: int) -> None:
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
            _options(socket)
            socket.setsockopt(zmq.SNDHWM, 0)  # the bound is in bytes, below
            socket.copy_threshold = 0  # what is sent without a copy here shall be
            socket.connect(endpoint)
            self._sockets.append(socket)

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        weight = len(header) + nbytes  # an empty payload is in flight, too
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
        deadline = time.monotonic() + timeout_s
        pause = _SHORTEST_SLEEP_S
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_SLEEP_S)
            self._reclaim()
            if ready():
                return True
        return False

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


class _ZmqPartReceiver:
    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", host: str, queue_length: int) -> None:
        self._socket = context.socket(zmq.PULL)
        _options(self._socket)
        self._socket.setsockopt(zmq.RCVHWM, queue_length)
        self.endpoint = _bind(self._socket, f"tcp://{host}:*")
        self._wakeup = Wakeup()
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)

    def receive(self, place: Callable[[bytes], memoryview | None], timeout_s: float) -> Received | None:
        while True:
            header = self._next_header(timeout_s)
            if header is None:
                return None
            if not self._socket.getsockopt(_MORE):
                return Received(header=header[:_HEADER_LIMIT], nbytes=0, fault="the message has no payload frame")
            try:
                if header:
                    nbytes, fault = self._payload(place(header))
            finally:
                extra = self._drain()
            if not header:
                continue  # a mark of the sender
            if fault is None and extra:
                fault = f"the message has {2 + extra} frames, 2 were expected"
            return Received(header=header, nbytes=nbytes, fault=fault)

    def _next_header(self, timeout_s: float) -> bytes | None:
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            ready = dict(self._poller.poll(math.ceil(1000 * timeout_s)))
            if self._wakeup.fileno() in ready:
                self._wakeup.clear()
            return self._socket.recv() if self._socket in ready else None

    def wake(self) -> None:
        self._wakeup.set()

    def close(self) -> None:
        self._socket.close(linger=0)
        self._wakeup.close()

    def _payload(self, target: memoryview | None) -> tuple[int, str | None]:
        if target is None:
            return len(self._socket.recv(copy=False)), None
        # recv_into tells the true length, even where it truncates; it refuses an empty buffer.
        nbytes = self._socket.recv_into(target) if target.nbytes else len(self._socket.recv(copy=False))
        if nbytes != target.nbytes:
            return nbytes, f"the payload has {nbytes} bytes, {target.nbytes} were expected"
        return nbytes, None

    def _drain(self) -> int:
        """Consume what is left of the present message, so that the next one is read from its start."""
        frames = 0
        while self._socket.getsockopt(_MORE):
            self._socket.recv(copy=False)
            frames += 1
        return frames


class _ZmqControlServer:
    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> None:
        self._socket = context.socket(zmq.ROUTER)
        _options(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.endpoint = _bind(self._socket, address)
        self._wakeup = Wakeup()
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)

    def receive(self, timeout_s: float) -> tuple[bytes, bytes] | None:
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            ready = dict(self._poller.poll(math.ceil(1000 * timeout_s)))
            if self._wakeup.fileno() in ready:
                self._wakeup.clear()
            if self._socket not in ready:
                return None
            frames = self._socket.recv_multipart()
        return frames[0], frames[-1]

    def send(self, peer: bytes, message: bytes) -> bool:
        try:
            self._socket.send_multipart([peer, message], zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True

    def wake(self) -> None:
        self._wakeup.set()

    def close(self, linger_s: float) -> None:
        self._socket.close(linger=int(1000 * linger_s))
        self._wakeup.close()


class _ZmqControlClient:
    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, identity: bytes) -> None:
        self._socket = context.socket(zmq.DEALER)
        _options(self._socket)
        self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.connect(endpoint)
        self._wakeup = Wakeup()
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self, timeout_s: float) -> bytes | None:
        ready = dict(self._poller.poll(math.ceil(1000 * timeout_s)))
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        return self._socket.recv() if self._socket in ready else None

    def wake(self) -> None:
        self._wakeup.set()

    def close(self, linger_s: float) -> None:
        self._socket.close(linger=int(1000 * linger_s))
        self._wakeup.close()
