"""Payloads through memory that a client rank and a server rank of one node share; ZeroMQ carries the notices.

A client rank owns one `Ring` per such server rank: a memory file without a name, so that nothing is left behind however
either side ends. It writes payloads one behind the other and sends a notice of where each lies. The server rank maps
the file through `/proc/PID/fd/N` of the client (`Mappings`), copies the payload to its place and writes into the ring
how far it has read, which makes room. Notices travel in order, so the room comes back in order.

Whether two processes can share memory is tried, not guessed from names of hosts, and in both directions. A server rank
shows a `Probe`; a client rank that can read the token there offers a ring; the server rank maps the ring and writes the
token of its probe into it, as the proof that it can follow notices. No payload is written into a ring before. Nobody
waits for the proof: until it is there, and for ever where it never comes, payloads travel over ZeroMQ. So it is with
containers and users that cannot see each other, with a client that must not be inspected (PR_SET_DUMPABLE), and where
/proc hides processes.
"""

import fcntl
import mmap
import os
import secrets
import struct
from collections import deque
from contextlib import suppress
from typing import NamedTuple, Self

from melissa_like.errors import ProtocolError
from melissa_like.transport.bundles import ALIGNMENT

__all__ = ["Mappings", "Notice", "Probe", "Ring", "SharedPayload", "read_probe", "split_endpoint"]

_TOKEN_NBYTES = 8
_NOTICE = struct.Struct("<8sIIQQQ")
_HEAD_NBYTES = 4096  # token, how far the reader has come, the reader's proof: each on a cache line of its own
_READ_AT = 64
_PROOF_AT = 128
_RESERVED_AT_ONCE_BYTES = 2**20
_LARGEST_POSITION = 2**64 - 1
_NOTICE_OVERHEAD_BYTES = 512  # what a notice that waits takes besides its frames: more than a small payload
_NOTICE_SHARE = 4  # of the ring's capacity, what the notices that wait may take; of a small ring more
_LEAST_NOTICE_BYTES = 2**16
_PROBE_NAME = "melissa_like_probe"
_RING_NAME = "melissa_like_ring"
_PRIVATE = 0o600  # such files are made for everybody
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
            ProtocolError: not a notice.
        """
        try:
            return cls(*_NOTICE.unpack(encoded))
        except struct.error:
            raise ProtocolError("the message has a third frame that is no notice of shared memory") from None


def _path(pid: int, descriptor: int) -> str:
    return f"/proc/{pid}/fd/{descriptor}"


def _is_memory_file(path: str, name: str) -> bool:
    """Looked at before it is opened: what has the same number elsewhere may be a pipe, whose opening would block."""
    return os.readlink(path).startswith(f"/memfd:{name} ")


def _taken(nbytes: int) -> int:
    """What a payload takes of a ring: an empty one something too, or nobody could see that it was read."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


class Probe:
    """What a server rank shows, so that a client rank can find out whether it may offer a ring.

    Raises:
        OSError: this process cannot have such memory.
    """

    def __init__(self) -> None:
        self.token = secrets.token_bytes(_TOKEN_NBYTES)
        self._descriptor = os.memfd_create(_PROBE_NAME, os.MFD_CLOEXEC)
        os.fchmod(self._descriptor, _PRIVATE)
        os.write(self._descriptor, self.token)

    def extend(self, endpoint: str) -> str:
        """The endpoint with where to look and what to find there."""
        return f"{endpoint}#{os.getpid()}.{self._descriptor}.{self.token.hex()}"

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """The ZeroMQ address of an endpoint, and what its probe says, if anything."""
    address, _, probe = endpoint.partition("#")
    return address, probe


def read_probe(probe: str) -> bytes | None:
    """The token of a probe, if this process can read it in the memory of the one that made it."""
    try:
        pid, descriptor, token = probe.split(".")
        path, expected = _path(int(pid), int(descriptor)), bytes.fromhex(token)
        if not _is_memory_file(path, _PROBE_NAME):
            return None
        with open(path, "rb") as shown:
            return expected if shown.read(_TOKEN_NBYTES + 1) == expected else None
    except (OSError, ValueError):  # no probe, or not on this node
        return None


class Ring:
    """The writing end: memory for payloads that the reader gives back in order.

    Args:
        capacity: bytes for payloads; a payload must not be larger.

    Raises:
        OSError: this process cannot have such memory.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = -(-capacity // ALIGNMENT) * ALIGNMENT
        self._token = secrets.token_bytes(_TOKEN_NBYTES)
        self._descriptor = os.memfd_create(_RING_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.fchmod(self._descriptor, _PRIVATE)
            os.ftruncate(self._descriptor, _HEAD_NBYTES + self.capacity)
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
            os.posix_fallocate(self._descriptor, 0, _HEAD_NBYTES)
            self._map = mmap.mmap(self._descriptor, _HEAD_NBYTES + self.capacity)
        except OSError:
            os.close(self._descriptor)
            raise
        self._map[:_TOKEN_NBYTES] = self._token
        self._memory = memoryview(self._map)
        self._read = self._memory[_READ_AT : _READ_AT + 8].cast("Q")
        self._reserved = 0
        self._written = 0
        self._opened = 0
        self._unread: deque[tuple[int, int]] = deque()  # end of each payload when last looked, bytes of its notice
        self._notice_bytes = 0
        self._most_notice_bytes = max(self.capacity // _NOTICE_SHARE, _LEAST_NOTICE_BYTES)

    def offer(self) -> Notice:
        """What the reader must be told to map the ring: a notice of nothing."""
        return Notice(self._token, os.getpid(), self._descriptor, self.capacity, 0, 0)

    def is_proven(self, token: bytes) -> bool:
        """Whether the reader whose probe has this token has mapped the ring."""
        return self._map[_PROOF_AT : _PROOF_AT + _TOKEN_NBYTES] == token

    def open(self, nbytes: int) -> memoryview | None:
        """The place of the next payload, if there is room for it now; `commit` follows, or another `open`.

        Raises:
            OSError: the system has no memory left for it; what was committed before stays.
        """
        left = self.capacity - self._written % self.capacity
        begin = self._written if nbytes <= left else self._written + left
        read = self._read[0]
        while self._unread and self._unread[0][0] <= read:
            self._notice_bytes -= self._unread.popleft()[1]
        has_room = begin + nbytes - read <= self.capacity and self._notice_bytes < self._most_notice_bytes
        if self._unread and not has_room:
            return None
        first = _HEAD_NBYTES + begin % self.capacity
        self._reserve(first + nbytes - _HEAD_NBYTES)
        self._opened = begin
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

    def _reserve(self, nbytes: int) -> None:
        """Take the first pages before they are written: a page that is not to be had would end the process then."""
        if nbytes > self._reserved:
            end = min(self.capacity, max(nbytes, self._reserved + _RESERVED_AT_ONCE_BYTES))
            os.posix_fallocate(self._descriptor, _HEAD_NBYTES + self._reserved, end - self._reserved)
            self._reserved = end

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

    def prove(self, token: bytes) -> None:
        """Show the writer that the ring is mapped."""
        self._memory[_PROOF_AT : _PROOF_AT + _TOKEN_NBYTES] = token

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

    def accept(self, encoded: bytes, token: bytes) -> str | None:
        """Map a ring that was offered, and prove it by the token of this server rank's probe; why not, if not.

        Raises:
            ProtocolError: no offer.
        """
        mapping = self._mapping_of(Notice.decode(encoded))
        if isinstance(mapping, str):
            return mapping
        mapping.prove(token)
        return None

    def payload(self, encoded: bytes) -> SharedPayload | str:
        """The payload that a notice speaks of, or why there is none."""
        try:
            notice = Notice.decode(encoded)
        except ProtocolError as error:
            return str(error)
        mapping = self._mapping_of(notice)
        return mapping if isinstance(mapping, str) else mapping.payload(notice)

    def _mapping_of(self, notice: Notice) -> _Mapping | str:
        """The ring of a notice; the notice may come from anybody, so only a sealed ring of this user is opened."""
        mapping = self._mappings.get(notice.token)
        if mapping is not None:
            return mapping
        self._forget_the_dead()
        refused = f"the shared memory of process {notice.pid} cannot be opened"
        try:
            mapped = _map_ring(_path(notice.pid, notice.descriptor))
        except (OSError, ValueError) as error:
            return f"{refused} ({error})"
        if mapped is None:
            return f"{refused}: it is no ring of this user"
        if (
            mapped[:_TOKEN_NBYTES] != notice.token
            or len(mapped) != _HEAD_NBYTES + notice.capacity
            or not notice.capacity
        ):
            mapped.close()
            return f"{refused}: it is no ring with this token and capacity"
        mapping = self._mappings[notice.token] = _Mapping(notice.pid, mapped)
        return mapping

    def _forget_the_dead(self) -> None:
        # By /proc and not by a signal: it is where rings are opened, and may be that of another PID namespace.
        for token, mapping in tuple(self._mappings.items()):
            if not os.path.exists(f"/proc/{mapping.pid}"):
                self._mappings.pop(token).close()

    def close(self) -> None:
        """Give all memory back."""
        for mapping in self._mappings.values():
            mapping.close()
        self._mappings.clear()


def _map_ring(path: str) -> mmap.mmap | None:
    """The mapped file, if it is a sealed ring of this user."""
    if not _is_memory_file(path, _RING_NAME):
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:  # what was opened is looked at, for what has this name may have changed
        if os.fstat(descriptor).st_uid != os.getuid() or fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            return None
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
