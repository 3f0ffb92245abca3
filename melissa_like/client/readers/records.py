"""The records of Fortran's unformatted sequential files.

A record is its length, its bytes, and its length again, as signed integers, of 4 bytes with most compilers. One that is
longer than these can say is written in pieces, and the sign of a length says whether another piece follows, or came
before (GNU Fortran's manual, "File format of unformatted sequential files").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """How the records of a file are written.

    Attributes:
        marker: bytes of a length: 4 or 8.
        byte_order: of the lengths.

    Raises:
        ValueError: another size of lengths.
    """

    marker: int
    byte_order: Literal["little", "big"]

    def __post_init__(self) -> None:
        if self.marker not in (4, 8):
            raise ValueError(f"records is {self.marker!r}: write 4 or 8, the bytes of a record's length")

    def complete(self, content: memoryview, *, ended: bool) -> Iterator[tuple[memoryview, int]]:
        """The pieces that are there in full: the bytes of each, and where the next begins in the content.

        A compiler's library may write 0 for the length in front of a record that it has begun, and the true one when
        the record is over. So while the program runs, what has the length 0, or another one behind it, is not there.

        Args:
            content: of the file, from the beginning of a record.
            ended: the program has ended.

        Raises:
            ValueError: the program has ended, and the lengths in front of a record and behind it differ.
        """
        first = 0
        while first + self.marker <= len(content):
            size = self._length(content, first)
            end = first + self.marker + size
            if end + self.marker > len(content) or (size == 0 and not ended):
                return
            behind = self._length(content, end)
            if behind != size:
                if not ended:
                    return
                raise ValueError(
                    f"a record has the length {size} in front and {behind} behind it: these are no Fortran records "
                    f"with lengths of {self.marker} bytes, {self.byte_order} endian"
                )
            first = end + self.marker
            yield content[end - size : end], first

    def _length(self, content: memoryview, at: int) -> int:
        return abs(int.from_bytes(content[at : at + self.marker], self.byte_order, signed=True))
