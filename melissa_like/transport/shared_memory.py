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
from collections import deque
from contextlib import suppress
from typing import NamedTuple, Self

from melissa_like.transport.bundles import ALIGNMENT

__all__ = ["Mappings", "Notice", "Probe", "Ring", "SharedPayload", "can_share", "split_endpoint"]

_TOKEN_NBYTES = 8
_NOTICE = struct.Struct("<8sIIQQQ")
_HEAD_NBYTES = 4096  # token, then how far the reader has come, each on a cache line of its own
_READ_AT = 64
_LARGEST_POSITION = 2**64 - 1
_NOTICE_OVERHEAD_BYTES = 512  # what a notice that waits takes besides its frames: more than a small payload
_NOTICE_SHARE = 4  # of the ring's capacity, what the notices that wait may take; of a small ring more
_LEAST_NOTICE_BYTES = 2**16
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


def _taken(nbytes: int) -> int:
    """What a payload takes of a ring: an empty one something too, or nobody could see that it was read."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


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
        self.capacity = -(-capacity // ALIGNMENT) * ALIGNMENT
        self._token = secrets.token_bytes(_TOKEN_NBYTES)
        self._descriptor = os.memfd_create(_RING_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, _HEAD_NBYTES + self.capacity)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map = mmap.mmap(self._descriptor, _HEAD_NBYTES + self.capacity)
        self._map[:_TOKEN_NBYTES] = self._token
        self._memory = memoryview(self._map)
        self._read = self._memory[_READ_AT : _READ_AT + 8].cast("Q")
        self._written = 0
        self._opened = 0
        self._unread: deque[tuple[int, int]] = deque()  # end of each payload when last looked, bytes of its notice
        self._notice_bytes = 0
        self._most_notice_bytes = max(self.capacity // _NOTICE_SHARE, _LEAST_NOTICE_BYTES)

    def open(self, nbytes: int) -> memoryview | None:
        """The place of the next payload, if there is room for it now; `commit` follows, or another `open`."""
        left = self.capacity - self._written % self.capacity
        begin = self._written if nbytes <= left else self._written + left
        read = self._read[0]
        while self._unread and self._unread[0][0] <= read:
            self._notice_bytes -= self._unread.popleft()[1]
        has_room = begin + nbytes - read <= self.capacity and self._notice_bytes < self._most_notice_bytes
        if self._unread and not has_room:
            return None
        self._opened = begin
        first = _HEAD_NBYTES + begin % self.capacity
        return self._memory[first : first + nbytes]

    def commit(self, nbytes: int, notice_nbytes: int = 0) -> Notice:
        """So many bytes are written from the beginning of the opened place: what the reader must be told.

        Args:
            nbytes: of the payload.
            notice_nbytes: of what travels with the notice; what waits of it is bounded too.
        """
        self._written = self._opened + _taken(nbytes)
        self._unread.append((self._written, _NOTICE_OVERHEAD_BYTES + notice_nbytes))
        self._notice_bytes += _NOTICE_OVERHEAD_BYTES + notice_nbytes
        return Notice(self._token, os.getpid(), self._descriptor, self.capacity, self._opened, nbytes)

    @property
    def is_read(self) -> bool:
        """Whether the reader has everything."""
        return self._read[0] >= self._written

    def close(self) -> None:
        """Give the memory back; what was not read is lost."""
        self._read.release()
        self._memory.release()
        os.close(self._descriptor)
        with suppress(BufferError):  # the traceback of what interrupted a send still holds a place; it goes with it
            self._map.close()


class _Mapping:
    """A client rank's ring as the reader sees it."""

    def __init__(self, pid: int, mapped: mmap.mmap) -> None:
        self.pid = pid
        self._map = mapped
        self._memory = memoryview(mapped)
        self._read = self._memory[_READ_AT : _READ_AT + 8].cast("Q")

    def payload(self, notice: Notice) -> "SharedPayload | str":
        """Where it lies, or why there is nothing."""
        size = len(self._memory)
        first = _HEAD_NBYTES + notice.position % (size - _HEAD_NBYTES)
        if first + notice.nbytes > size or notice.position + _taken(notice.nbytes) > _LARGEST_POSITION:
            return f"a payload of {notice.nbytes} bytes at {notice.position} is not inside the shared memory"
        return SharedPayload(self, self._memory[first : first + notice.nbytes], notice.position)

    def give_back(self, end: int) -> None:
        """Everything before this position is read: one aligned word, the writer sees the old value or the new."""
        self._read[0] = end

    def close(self) -> None:
        """Give the memory back."""
        self._read.release()
        self._memory.release()
        self._map.close()


class SharedPayload:
    """A payload in a ring, to be released when it was copied, or is not wanted."""

    def __init__(self, mapping: _Mapping, memory: memoryview, position: int) -> None:
        self.memory = memory
        self._mapping = mapping
        self._end = position + _taken(len(memory))

    def release(self) -> None:
        """Make room in the ring."""
        self.memory.release()
        self._mapping.give_back(self._end)


class Mappings:
    """The reading ends of a server rank: one mapping per client rank that shares memory with it."""

    def __init__(self) -> None:
        self._mappings: dict[bytes, _Mapping] = {}

    def payload(self, encoded: bytes) -> SharedPayload | str:
        """The payload that a notice speaks of, or why there is none."""
        try:
            notice = Notice.decode(encoded)
        except struct.error:
            return "the message has a third frame that is no notice of shared memory"
        mapping = self._mappings.get(notice.token) or self._open(notice)
        if mapping is None:
            return f"the shared memory of process {notice.pid} cannot be opened: it has ended, or it is no ring"
        return mapping.payload(notice)

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
        if (
            mapped[:_TOKEN_NBYTES] != notice.token
            or len(mapped) != _HEAD_NBYTES + notice.capacity
            or not notice.capacity
        ):
            mapped.close()
            return None
        mapping = self._mappings[notice.token] = _Mapping(notice.pid, mapped)
        return mapping

    def _forget_the_dead(self) -> None:
        for token, mapping in tuple(self._mappings.items()):
            try:
                os.kill(mapping.pid, 0)
            except ProcessLookupError:
                self._mappings.pop(token).close()
            except PermissionError:
                continue

    def close(self) -> None:
        """Give all memory back."""
        for mapping in self._mappings.values():
            mapping.close()
        self._mappings.clear()
