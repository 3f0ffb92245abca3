"""`BundlingSender`: the sending end for parts, over one outlet per server rank."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from melissa_like.transport.bundles import Bundle
from melissa_like.transport.forks import require_same_process
from melissa_like.transport.wakeup import sleep_until

__all__ = ["BundlingSender", "Outlet"]

#: A payload of which fewer fit into a bundle goes alone.
_LEAST_PARTS = 2


class Outlet(Protocol):
    """The way to one server rank: gives memory for a payload, and sends it."""

    @property
    def bundle_nbytes(self) -> int:
        """How large the body of a bundle may be on this way."""

    def open(self, nbytes: int) -> memoryview | None:
        """Memory for the next payload; None while there is no room. What was opened before and not sent is void."""

    def send(self, frames: Sequence[bytes], nbytes: int) -> None:
        """Send the first bytes of the opened memory behind these frames. Everything sent arrives in order."""

    @property
    def is_flushed(self) -> bool:
        """Whether everything sent has left."""

    def close(self, linger_s: float) -> None:
        """Close; does not block. What ZeroMQ has not written out within the time is dropped."""


class BundlingSender:
    """A `PartSender` that bundles small payloads and sends large ones alone.

    Args:
        outlets: in the order of the server ranks.
    """

    def __init__(self, outlets: Sequence[Outlet]) -> None:
        self._outlets = outlets
        self._bundles: dict[int, Bundle] = {}
        self._pid = os.getpid()

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        """See `PartSender.send`."""
        require_same_process(self._pid)
        bundle_nbytes = self._outlets[destination].bundle_nbytes
        if _LEAST_PARTS * nbytes > bundle_nbytes:
            return self._send_alone(destination, header, nbytes, fill, timeout_s)
        bundle = self._bundles.get(destination)
        if bundle is None or not bundle.has_room(header, nbytes):
            self._push_to(destination)
            memory = self._open(destination, bundle_nbytes, timeout_s)
            if memory is None:
                return False
            bundle = self._bundles[destination] = Bundle(memory)
        bundle.add(header, nbytes, fill)
        return True

    def push(self) -> None:
        """See `PartSender.push`."""
        require_same_process(self._pid)
        for destination in tuple(self._bundles):
            self._push_to(destination)

    def flush(self, timeout_s: float) -> bool:
        """See `PartSender.flush`."""
        self.push()
        return sleep_until(lambda: all(outlet.is_flushed for outlet in self._outlets), timeout_s)

    def close(self, linger_s: float) -> None:
        """See `PartSender.close`."""
        deadline = time.monotonic() + linger_s
        if os.getpid() == self._pid:  # else nothing here is ours to send
            self.flush(linger_s)  # of all server ranks together: several may be gone
        for outlet in self._outlets:
            outlet.close(max(0.0, deadline - time.monotonic()))

    def _send_alone(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        self._push_to(destination)
        memory = self._open(destination, nbytes, timeout_s)
        if memory is None:
            return False
        fill(memory)
        self._outlets[destination].send((header,), nbytes)
        return True

    def _push_to(self, destination: int) -> None:
        bundle = self._bundles.pop(destination, None)
        if bundle is not None and bundle.frames:
            self._outlets[destination].send(bundle.frames, bundle.nbytes)

    def _open(self, destination: int, nbytes: int, timeout_s: float) -> memoryview | None:
        outlet = self._outlets[destination]
        memory = outlet.open(nbytes)
        if memory is not None:
            return memory
        self.push()  # what is held for others may wait for long

        def opened() -> bool:
            nonlocal memory
            memory = outlet.open(nbytes)
            return memory is not None

        sleep_until(opened, timeout_s)
        return memory
