"""The in-memory twin of the ZeroMQ transport: the same contract inside one process, for tests and inline studies."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from melissa_like.errors import TransportError
from melissa_like.transport.interface import Door, Peer, Place, Received, copy_payload

__all__ = ["MemoryTransport"]

_Item = TypeVar("_Item")
_NOBODY: Mapping[str, int] = MappingProxyType({})


class _Queue(Generic[_Item]):
    """A queue with a deadline on every wait and a wake-up call."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.items: deque[_Item] = deque()
        self.woken = False
        self.closed = False

    def put(self, item: _Item) -> None:
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()

    def take(self, timeout_s: float) -> _Item | None:
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.woken, timeout_s)
            self.woken = False
            if not self.items:
                return None
            item = self.items.popleft()
            self.changed.notify_all()
            return item

    def is_done(self) -> bool:
        """With the lock held: nothing is left that anybody will take."""
        return self.closed or not self.items

    def wake(self) -> None:
        with self.changed:
            self.woken = True
            self.changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Hub:
    """Everything that has an address."""

    receivers: dict[str, "_MemoryReceiver"]
    servers: dict[str, tuple["_MemoryControlServer", Door]]


class MemoryTransport:
    """All ends made by one transport, from any thread, reach each other."""

    def __init__(self) -> None:
        self._hub = _Hub({}, {})
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def part_sender(self, endpoints: Sequence[str], *, budget_bytes: int) -> "_MemorySender":
        """See `Transport.part_sender`."""
        return _MemorySender([self._hub.receivers[endpoint] for endpoint in endpoints], budget_bytes)

    def part_receiver(self, *, queue_length: int, max_nbytes: int | None = None) -> "_MemoryReceiver":
        """See `Transport.part_receiver`."""
        receiver = _MemoryReceiver(self._address("parts"), queue_length, max_nbytes)
        self._hub.receivers[receiver.endpoint] = receiver
        return receiver

    def control_server(self, address: str | None = None, server_address: str | None = None) -> "_MemoryControlServer":
        """See `Transport.control_server`."""
        endpoint = address or self._address("control")
        server_endpoint = server_address or self._address("control-of-servers")
        with self._lock:
            for wanted in (endpoint, server_endpoint):
                held = self._hub.servers.get(wanted)
                if held is not None and not held[0].inbox.closed:
                    raise TransportError(f"{wanted} is taken: choose another address, or none for a free one")
            server = _MemoryControlServer(endpoint, server_endpoint)
            self._hub.servers[endpoint] = server, Door.JOBS
            self._hub.servers[server_endpoint] = server, Door.SERVERS
        return server

    def control_client(self, endpoint: str, name: bytes) -> "_MemoryControlClient":
        """See `Transport.control_client`."""
        server, door = self._hub.servers[endpoint]
        return _MemoryControlClient(server, Peer(door, name))

    def close(self) -> None:
        """Nothing is held that the ends do not release."""

    def _address(self, kind: str) -> str:
        with self._lock:
            return f"memory://{kind}-{next(self._numbers)}"


class _MemoryReceiver:
    def __init__(self, endpoint: str, queue_length: int, max_nbytes: int | None) -> None:
        self.endpoint = endpoint
        self.queue_length = queue_length
        self.max_nbytes = max_nbytes
        self.refused = _NOBODY
        self.inbox: _Queue[tuple[bytes, bytes]] = _Queue()

    def receive(self, place: Place, timeout_s: float) -> Received | None:
        item = self.inbox.take(timeout_s)
        if item is None:
            return None
        header, payload = item
        target = place(header)
        fault = None if target is None else copy_payload(memoryview(payload), target)
        return Received(header=header, nbytes=len(payload), fault=fault)

    def wake(self) -> None:
        self.inbox.wake()

    def close(self) -> None:
        with self.inbox.changed:
            self.inbox.closed = True
            self.inbox.items.clear()
            self.inbox.changed.notify_all()


class _MemorySender:
    def __init__(self, receivers: Sequence[_MemoryReceiver], budget_bytes: int) -> None:
        self._receivers = receivers
        self._budget_bytes = budget_bytes

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        receiver = self._receivers[destination]
        if receiver.max_nbytes is not None and nbytes > receiver.max_nbytes:
            return True
        inbox = receiver.inbox

        def room() -> bool:
            waiting = sum(len(payload) for _, payload in inbox.items)
            fits = waiting + nbytes <= self._budget_bytes and len(inbox.items) < receiver.queue_length
            return not inbox.closed and (fits or not inbox.items)

        with inbox.changed:
            if not inbox.changed.wait_for(room, timeout_s):
                return False
        payload = bytearray(nbytes)
        fill(memoryview(payload))
        inbox.put((header, bytes(payload)))
        return True

    def push(self) -> None:
        """Nothing is held here."""

    def flush(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        for receiver in self._receivers:
            inbox = receiver.inbox
            with inbox.changed:
                left = max(0.0, deadline - time.monotonic())
                if not inbox.changed.wait_for(inbox.is_done, left):
                    return False
        return True

    def close(self, linger_s: float) -> None:
        self.flush(linger_s)


class _MemoryControlServer:
    def __init__(self, endpoint: str, server_endpoint: str) -> None:
        self.endpoint = endpoint
        self.server_endpoint = server_endpoint
        self.refused = _NOBODY
        self.inbox: _Queue[tuple[Peer, bytes]] = _Queue()
        self.peers: dict[Peer, _Queue[bytes]] = {}

    def receive(self, timeout_s: float) -> tuple[Peer, bytes] | None:
        return self.inbox.take(timeout_s)

    def send(self, peer: Peer, message: bytes) -> bool:
        queue = self.peers.get(peer)
        if queue is None or queue.closed:
            return False
        queue.put(message)
        return True

    def wake(self) -> None:
        self.inbox.wake()

    def close(self, linger_s: float) -> None:
        self.inbox.closed = True


class _MemoryControlClient:
    def __init__(self, server: _MemoryControlServer, peer: Peer) -> None:
        self._server = server
        self._peer = peer
        self._inbox: _Queue[bytes] = _Queue()
        server.peers[peer] = self._inbox

    def send(self, message: bytes) -> None:
        self._server.inbox.put((self._peer, message))

    def receive(self, timeout_s: float) -> bytes | None:
        return self._inbox.take(timeout_s)

    def wake(self) -> None:
        self._inbox.wake()

    def close(self, linger_s: float) -> None:
        self._inbox.closed = True
