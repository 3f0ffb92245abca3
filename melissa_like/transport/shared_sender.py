"""`SharedMemorySender`: large payloads to server ranks of this node through shared memory, everything else as ever."""

from collections.abc import Callable, Sequence

from melissa_like.transport.shared_memory import Ring
from melissa_like.transport.wakeup import sleep_until
from melissa_like.transport.zmq_parts import ZmqPartSender

__all__ = ["SharedMemorySender"]

_SHARED_FROM_BYTES = 32 * 1024  # below, a notice costs as much as the payload
_SMALLEST_RING_BYTES = 8 * 2**20
_PAYLOADS_PER_RING = 4


class SharedMemorySender:
    """A `PartSender` that uses a ring where it can. A ring is made at the first payload that goes through it.

    Payloads and notices to one server rank keep their order: both pass through the same socket.

    Args:
        sender: carries the notices, and all payloads that go through no ring.
        shares_memory: for each server rank, whether it can open this process's memory.
        ring_bytes: bound on the bytes in each ring.
    """

    def __init__(self, sender: ZmqPartSender, shares_memory: Sequence[bool], ring_bytes: int) -> None:
        self._sender = sender
        self._shares_memory = shares_memory
        self._ring_bytes = ring_bytes
        self._rings: dict[int, Ring] = {}

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        """See `PartSender.send`."""
        ring = self._ring_for(destination, nbytes)
        if ring is None:
            return self._sender.send(destination, header, nbytes, fill, timeout_s)
        if not sleep_until(lambda: ring.has_room(nbytes), timeout_s):
            return False
        notice, memory = ring.write(nbytes)
        fill(memory)
        self._sender.send_notice(destination, header, notice.encode())
        return True

    def flush(self, timeout_s: float) -> bool:
        """See `PartSender.flush`; a payload in a ring has left when the server rank has read it."""
        return sleep_until(self._is_read, timeout_s) and self._sender.flush(timeout_s)

    def close(self, linger_s: float) -> None:
        """See `PartSender.close`."""
        sleep_until(self._is_read, linger_s)
        self._sender.close(linger_s)
        for ring in self._rings.values():
            ring.close()

    def _is_read(self) -> bool:
        return all(ring.is_read for ring in self._rings.values())

    def _ring_for(self, destination: int, nbytes: int) -> Ring | None:
        if not self._shares_memory[destination] or not _SHARED_FROM_BYTES <= nbytes <= self._ring_bytes:
            return None
        ring = self._rings.get(destination)
        if ring is None:
            # A small ring stays in the caches.
            capacity = min(self._ring_bytes, max(_SMALLEST_RING_BYTES, _PAYLOADS_PER_RING * nbytes))
            ring = self._rings[destination] = Ring(capacity)
        return ring if nbytes <= ring.capacity else None
