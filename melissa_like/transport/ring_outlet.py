"""`RingOutlet`: payloads to a server rank of this node through a ring in shared memory, notices through ZeroMQ."""

import sys
from collections.abc import Sequence
from enum import Enum, auto

from melissa_like.transport.shared_memory import Ring
from melissa_like.transport.zmq_outlet import ZmqOutlet

__all__ = ["RingOutlet"]

_LARGEST_RING_BYTES = 16 * 2**20  # a small ring stays in the caches
_BUNDLES_PER_RING = 4


class _Use(Enum):
    """Of the ring; a state only ever moves down this list."""

    UNTRIED = auto()
    OFFERED = auto()  #: the server rank has not proven yet that it can read it, and never may
    PROVEN = auto()
    GIVEN_UP = auto()  #: there is no memory for it; what lies in it is still read


class RingOutlet:
    """See `Outlet`. The ring is made and offered at the first payload, and used once the server rank has proven it.

    Args:
        outlet: carries the offer and the notices, payloads before the proof, and those larger than the ring.
        ring_bytes: bound on the bytes in the ring; the notices that wait may take a quarter of it besides.
        token: of the server rank's probe, by which it proves that it has mapped the ring.
    """

    def __init__(self, outlet: ZmqOutlet, ring_bytes: int, token: bytes) -> None:
        self._outlet = outlet
        self._capacity = min(ring_bytes, _LARGEST_RING_BYTES)
        self._token = token
        self._ring: Ring | None = None
        self._use = _Use.UNTRIED if self._capacity else _Use.GIVEN_UP
        self._opens_ring = False

    @property
    def bundle_nbytes(self) -> int:
        """See `Outlet`."""
        if self._use is _Use.PROVEN:
            return max(1, self._capacity // _BUNDLES_PER_RING)
        return self._outlet.bundle_nbytes

    def open(self, nbytes: int) -> memoryview | None:
        """See `Outlet`."""
        self._look()
        self._opens_ring = self._use is _Use.PROVEN and nbytes <= self._capacity
        if self._opens_ring:
            assert self._ring is not None, "proven"
            try:
                return self._ring.open(nbytes)
            except OSError as error:
                self._opens_ring = False
                self._give_up(error)
        return self._outlet.open(nbytes)

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

    def _look(self) -> None:
        """Offer the ring, the first time, and then see whether it was proven."""
        if self._use is _Use.UNTRIED:
            try:
                self._ring = Ring(self._capacity)
            except OSError as error:
                self._give_up(error)
                return
            self._outlet.send_notice((b"", b"", b"", self._ring.offer().encode()))
            self._use = _Use.OFFERED
        elif self._use is _Use.OFFERED and self._ring is not None and self._ring.is_proven(self._token):
            self._use = _Use.PROVEN

    def _give_up(self, error: OSError) -> None:
        self._use = _Use.GIVEN_UP
        sys.stderr.write(f"no memory to share with a server rank of this node ({error}): parts travel over TCP\n")
