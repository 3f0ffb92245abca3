"""Payloads through memory that a client rank and a server rank of one node share; ZeroMQ carries the notices.

A client rank owns one `Ring` per such server rank: a memory file without a name, so that nothing is left behind however
either side ends. It writes payloads one behind the other and sends a notice of where each lies. The server rank maps
the file through `/proc/PID/fd/N` of the client (`Mappings`), copies the payload to its place and writes into the ring
how far it has read, which makes room. Notices travel in order, so the room comes back in order.

Whether two processes can share memory is tried, not guessed from names of hosts: a server rank shows a `Probe`, and a
client rank that can open it and reads the expected token there may use a ring. Containers and users that cannot see
each other fail this test and use ZeroMQ.
"""

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec
import numpy as np

__all__ = ["Mappings", "Notice", "Probe", "Ring", "can_share", "split_endpoint"]

_TOKEN_NBYTES = 8
_NOTICE = struct.Struct("<8sIIQQQ")
_HEAD_NBYTES = 4096  # token, then how far the reader has come, each on a cache line of its own
_READ_AT = 64
_ALIGNMENT = 64
_RING_NAME = "melissa_like_ring"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW  # or a writer could pull the pages away from under its reader


class Notice(NamedTuple):
    """Where a payload lies: the third frame of a message whose second one is empty."""

    token: bytes
    pid: int
    descriptor: int
    capacity: int
    position: int
    nbytes: int

    def encode(self) -> bytes:
        """As bytes."""
        return _NOTICE.pack(*self)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """The inverse of `encode`.

        Raises:
            struct.error: not a notice.
        """
        return cls(*_NOTICE.unpack(encoded))


def _path(pid: int, descriptor: int) -> str:
    return f"/proc/{pid}/fd/{descriptor}"


class Probe:
    """What a server rank shows, so that a client rank can find out whether the two share memory."""

    def __init__(self) -> None:
        self._token = secrets.token_bytes(_TOKEN_NBYTES)
        self._descriptor = os.memfd_create("melissa_like_probe", os.MFD_CLOEXEC)
        os.write(self._descriptor, self._token)

    def extend(self, endpoint: str) -> str:
        """The endpoint with where to look and what to find there."""
        return f"{endpoint}#{os.getpid()}.{self._descriptor}.{self._token.hex()}"

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """The ZeroMQ address of an endpoint, and what its probe says, if anything."""
    address, _, probe = endpoint.partition("#")
    return address, probe


def can_share(probe: str) -> bool:
    """Whether this process can open the memory of the one that made the probe."""
    try:
        pid, descriptor, token = probe.split(".")
        with open(_path(int(pid), int(descriptor)), "rb") as shown:
            return shown.read(_TOKEN_NBYTES + 1) == bytes.fromhex(token)
    except (OSError, ValueError):  # no probe, or not on this node
        return False


class Ring:
    """The writing end: memory for payloads that the reader gives back in order.

    Args:
        capacity: bytes for payloads; a payload must not be larger.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = -(-capacity // _ALIGNMENT) * _ALIGNMENT
        self._token = secrets.token_bytes(_TOKEN_NBYTES)
        self._descriptor = os.memfd_create(_RING_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, _HEAD_NBYTES + self.capacity)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map = mmap.mmap(self._descriptor, _HEAD_NBYTES + self.capacity)
        self._map[:_TOKEN_NBYTES] = self._token
        self._memory = memoryview(self._map)
        self._read = self._memory[_READ_AT : _READ_AT + 8].cast("Q")
        self._written = 0

    def has_room(self, nbytes: int) -> bool:
        """Whether a payload finds a place now."""
        return self._begin(nbytes) + nbytes - self._read[0] <= self.capacity

    def write(self, nbytes: int) -> tuple[Notice, memoryview]:
        """The place of the next payload, to be written before the notice is sent. There must be room."""
        begin = self._begin(nbytes)
        self._written = begin + -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        first = _HEAD_NBYTES + begin % self.capacity
        notice = Notice(self._token, os.getpid(), self._descriptor, self.capacity, begin, nbytes)
        return notice, self._memory[first : first + nbytes]

    @property
    def is_read(self) -> bool:
        """Whether the reader has everything."""
        return self._read[0] >= self._written

    def close(self) -> None:
        """Give the memory back; what was not read is lost."""
        self._read.release()
        self._memory.release()
        self._map.close()
        os.close(self._descriptor)

    def _begin(self, nbytes: int) -> int:
        """Positions grow for ever; a payload that would be cut by the end of the memory begins at its start."""
        left = self.capacity - self._written % self.capacity
        return self._written if nbytes <= left else self._written + left


class _Mapping(msgspec.Struct, eq=False):
    """A client rank's ring as the reader sees it."""

    pid: int
    map: mmap.mmap


class Mappings:
    """The reading ends of a server rank: one mapping per client rank that shares memory with it."""

    def __init__(self) -> None:
        self._mappings: dict[bytes, _Mapping] = {}

    def read(self, frames: Sequence[bytes], target: memoryview | None) -> tuple[int, str | None]:
        """Copy a payload to its place, or skip it, and make room in the ring.

        Args:
            frames: what stands behind the empty payload: one notice.
            target: as many bytes as the payload must have; None: it is not wanted.

        Returns:
            Size of the payload, and why it is not in its place, if it should be.
        """
        try:
            (encoded,) = frames
            notice = Notice.decode(encoded)
        except (ValueError, struct.error):
            return 0, f"the message has {2 + len(frames)} frames, and the third is no notice of shared memory"
        # Also for what is not wanted: the room must come back.
        mapping = self._mappings.get(notice.token) or self._open(notice)
        if mapping is None:
            return notice.nbytes, f"the shared memory of process {notice.pid} cannot be opened: it has ended"
        return notice.nbytes, self._copy(mapping, notice, target)

    def _copy(self, mapping: _Mapping, notice: Notice, target: memoryview | None) -> str | None:
        size = len(mapping.map)
        first = _HEAD_NBYTES + notice.position % (size - _HEAD_NBYTES)
        if first + notice.nbytes > size:
            return f"a payload of {notice.nbytes} bytes at {notice.position} is not inside the shared memory"
        fault = None
        if target is not None and target.nbytes != notice.nbytes:
            fault = f"the payload has {notice.nbytes} bytes, {target.nbytes} were expected"
        elif target is not None:
            # Through numpy, which lets the other threads run meanwhile.
            source = np.frombuffer(mapping.map, np.uint8, notice.nbytes, first)
            np.copyto(np.frombuffer(target, np.uint8), source)
        read = notice.position + -(-notice.nbytes // _ALIGNMENT) * _ALIGNMENT
        # One aligned word, so that the writer sees the old value or the new one.
        np.frombuffer(mapping.map, np.uint64, 1, _READ_AT)[0] = read
        return fault

    def _open(self, notice: Notice) -> _Mapping | None:
        """Map a ring; the notice may come from anybody, so nothing is opened that is not a sealed ring of this user."""
        self._forget_the_dead()
        path = _path(notice.pid, notice.descriptor)
        try:
            if not os.readlink(path).startswith(f"/memfd:{_RING_NAME} ") or os.stat(path).st_uid != os.getuid():
                return None
            with open(path, "r+b") as shared:
                if fcntl.fcntl(shared, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                    return None
                mapped = mmap.mmap(shared.fileno(), 0)
        except (OSError, ValueError):
            return None
        if mapped[:_TOKEN_NBYTES] != notice.token or len(mapped) != _HEAD_NBYTES + notice.capacity:
            mapped.close()
            return None
        mapping = self._mappings[notice.token] = _Mapping(notice.pid, mapped)
        return mapping

    def _forget_the_dead(self) -> None:
        for token, mapping in tuple(self._mappings.items()):
            try:
                os.kill(mapping.pid, 0)
            except ProcessLookupError:
                self._mappings.pop(token).map.close()
            except PermissionError:
                continue

    def close(self) -> None:
        """Give all memory back."""
        for mapping in self._mappings.values():
            mapping.map.close()
        self._mappings.clear()
