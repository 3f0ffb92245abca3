"""`RingOutlet`: payloads to a server rank of this node through a ring in shared memory, notices through ZeroMQ."""

from collections.abc import Sequence

from melissa_like.transport.shared_memory import Ring
from melissa_like.transport.zmq_outlet import ZmqOutlet

__all__ = ["RingOutlet"]

_LARGEST_RING_BYTES = 16 * 2**20  # a small ring stays in the caches
_BUNDLES_PER_RING = 4


class RingOutlet:
    """See `Outlet`. The ring is made at the first payload.

    Args:
        outlet: carries the notices, and payloads larger than the ring.
        ring_bytes: bound on the bytes in the ring; the notices that wait may take a quarter of it besides.
    """

    def __init__(self, outlet: ZmqOutlet, ring_bytes: int) -> None:
        self._outlet = outlet
        self._capacity = min(ring_bytes, _LARGEST_RING_BYTES)
        self.bundle_nbytes = max(1, self._capacity // _BUNDLES_PER_RING)
        self._ring: Ring | None = None
        self._opens_ring = False

    def open(self, nbytes: int) -> memoryview | None:
        """See `Outlet`."""
        self._opens_ring = nbytes <= self._capacity
        if not self._opens_ring:
            return self._outlet.open(nbytes)
        if self._ring is None:
            self._ring = Ring(self._capacity)
        return self._ring.open(nbytes)

    def send(self, frames: Sequence[bytes], nbytes: int) -> None:
        """See `Outlet`."""
        if not self._opens_ring:
            self._outlet.send(frames, nbytes)
            return
        assert self._ring is not None, "opened before"
        notice = self._ring.commit(nbytes, sum(map(len, frames)))
        self._outlet.send_notice((*frames, b"", notice.encode()))

    @property
    def is_flushed(self) -> bool:
        """See `Outlet`; a payload in the ring has left when the server rank has read it."""
        return (self._ring is None or self._ring.is_read) and self._outlet.is_flushed

    def close(self, linger_s: float) -> None:
        """See `Outlet`; what was not read is lost."""
        self._outlet.close(linger_s)
        if self._ring is not None:
            self._ring.close()
