"""Bundles: small payloads that travel in one message, because a message costs as much as copying many kilobytes.

A bundle is an empty frame, an index and a body. The index holds for each part, in order, the size of its header, the
size of its payload, and the header; the body the payloads, each at the next multiple of 64 behind the one before.
"""

import struct
from collections.abc import Callable

import msgspec

from melissa_like.errors import ProtocolError
from melissa_like.transport.interface import Place, Received, copy_payload

__all__ = ["ALIGNMENT", "LARGEST_BUNDLE_BYTES", "Bundle", "LostBundle", "OpenedBundle"]

ALIGNMENT = 64
#: Of an index, and of a body that does not lie in shared memory; a receiver takes as much, however small its largest
#: part is.
LARGEST_BUNDLE_BYTES = 2**20
_ENTRY = struct.Struct("<II")


class Bundle:
    """The writing end.

    Args:
        memory: of the body; the index does not outgrow it either, nor what a receiver takes.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._index: list[bytes] = []
        self._index_nbytes = 0
        self._most_index_nbytes = min(len(memory), LARGEST_BUNDLE_BYTES)
        self._free_at = 0
        self.nbytes = 0

    def has_room(self, header: bytes, nbytes: int) -> bool:
        """Whether another part finds a place."""
        return (
            self._free_at + nbytes <= len(self._memory)
            and self._index_nbytes + _ENTRY.size + len(header) <= self._most_index_nbytes
        )

    def add(self, header: bytes, nbytes: int, fill: Callable[[memoryview], None]) -> None:
        """Add a part, the first or one for which there is room; if `fill` raises, it is not in the bundle."""
        end = self._free_at + nbytes
        fill(self._memory[self._free_at : end])
        self._index += (_ENTRY.pack(len(header), nbytes), header)
        self._index_nbytes += _ENTRY.size + len(header)
        self.nbytes = end
        self._free_at = _aligned(end)

    @property
    def frames(self) -> tuple[bytes, ...]:
        """What is sent before the body; nothing if the bundle is empty."""
        return (b"", b"".join(self._index)) if self._index else ()


class _Entry(msgspec.Struct, frozen=True):
    header: bytes
    begin: int
    end: int


class OpenedBundle:
    """The reading end: hands out one part after another.

    Args:
        index: as received.
        body: as received.
        release: called when the last part is taken, or the index is refused.

    Raises:
        ProtocolError: the index does not fit the body, or is too large.
    """

    def __init__(self, index: bytes | memoryview, body: memoryview, release: Callable[[], None]) -> None:
        self._body = body
        self._release = release
        try:
            self._entries = _read_index(index, len(body))
        except ProtocolError:
            self.close()
            raise
        self._entries.reverse()

    @property
    def is_last(self) -> bool:
        """Whether one part is left."""
        return len(self._entries) == 1

    def take(self, place: Place) -> Received:
        """The next part, its payload copied to its place; see `PartReceiver.receive`."""
        entry = self._entries.pop()
        try:
            target = place(entry.header)
            fault = None
            if target is not None:
                fault = copy_payload(self._body[entry.begin : entry.end], target)
        finally:
            if not self._entries:
                self.close()
        return Received(header=entry.header, nbytes=entry.end - entry.begin, fault=fault)

    def close(self) -> None:
        """What was not taken is dropped."""
        self._body.release()
        self._release()


class LostBundle:
    """A bundle whose body cannot be read: names its parts one after another, so that each is known to be lost.

    Args:
        index: as received.
        body_nbytes: what the body would have.
        fault: why it cannot be read.

    Raises:
        ProtocolError: the index does not fit the body, or is too large.
    """

    def __init__(self, index: bytes | memoryview, body_nbytes: int, fault: str) -> None:
        self._fault = fault
        self._entries = _read_index(index, body_nbytes)
        self._entries.reverse()

    @property
    def is_last(self) -> bool:
        """Whether one part is left."""
        return len(self._entries) == 1

    def take(self, place: Place) -> Received:
        """The next part, which has no payload; it is asked all the same where that would have gone."""
        entry = self._entries.pop()
        place(entry.header)
        return Received(header=entry.header, nbytes=0, fault=self._fault)

    def close(self) -> None:
        """Nothing is held."""


def _read_index(received: bytes | memoryview, body_nbytes: int) -> list[_Entry]:
    if len(received) > LARGEST_BUNDLE_BYTES:  # opened, it takes many times as much
        raise ProtocolError(f"an index of {len(received)} bytes, {LARGEST_BUNDLE_BYTES} are the most")
    index = bytes(received)
    entries = []
    position, end = 0, 0
    while position < len(index):
        if position + _ENTRY.size > len(index):
            raise ProtocolError(f"an index of {len(index)} bytes that ends inside an entry")
        header_nbytes, nbytes = _ENTRY.unpack_from(index, position)
        position += _ENTRY.size + header_nbytes
        begin = _aligned(end)
        end = begin + nbytes
        entries.append(_Entry(index[position - header_nbytes : position], begin, end))
    if not entries or position != len(index) or end != body_nbytes:
        raise ProtocolError(
            f"an index of {len(index)} bytes with {len(entries)} parts of {end} bytes for a body of {body_nbytes}"
        )
    return entries


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
