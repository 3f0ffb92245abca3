"""The snapshot: a study's state in a file beside its journal, so that a resume replays only what followed.

The journal stays whole and is enough by itself: a snapshot that is missing, damaged, of another study, or ahead of the
journal costs the seconds of a replay and nothing else. It is msgpack of declared types, arrays as their bytes:

    MAGIC | length of the head, 8 bytes | head | parameters of all simulations, float64 | CRC-32 of all that, 4 bytes

Parameters are most of it and never change once they are drawn, so `SnapshotContent` does not copy them: they are read
from the ledger as they are written, which may be on another thread while the study goes on.
"""

import os
import sys
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from melissa_like.errors import UNREADABLE
from melissa_like.study.books import BooksSnapshot
from melissa_like.study.journal import JOURNAL_FILE
from melissa_like.study.settings import StudySettings
from melissa_like.study.state import StudyState

__all__ = ["SNAPSHOT_FILE", "Launches", "SnapshotContent", "SnapshotUnusableError", "Taken", "read_snapshot"]

SNAPSHOT_FILE = "journal.snapshot"

#: Another number for another meaning of any of the types, too: a state is good for the rules that made it.
_MAGIC = b"melissa-like snapshot 2\n"
_PIECE_BYTES = 2**20
_PIECE_VALUES = _PIECE_BYTES // 8
_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4
_MARK_BYTES = 2**16


class SnapshotUnusableError(Exception):
    """A snapshot that cannot be gone on from; the message says why, and the journal does instead."""


class Launches(msgspec.Struct, frozen=True, kw_only=True):
    """The launchers of a study so far. Times are those of journal entries.

    Attributes:
        first: the settings of the first one.
        num_resumes: how often another one went on.
        earlier_s: running time of all earlier launchers together.
        began_at_s: when the present one did.
        last_at_s: of its last entry.
    """

    first: StudySettings
    num_resumes: int
    earlier_s: float
    began_at_s: float
    last_at_s: float


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """All but the parameters.

    Attributes:
        byteorder: of the arrays.
        journal_bytes: of the journal that led to this state.
        journal_mark: of these bytes, see `_mark_of`.
        num_values: parameters of all simulations.
    """

    byteorder: str
    journal_bytes: int
    journal_mark: int
    launches: Launches
    num_values: int
    books: BooksSnapshot


_DECODER = msgspec.msgpack.Decoder(_Head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a snapshot gives back.

    Attributes:
        state: the study's.
        launches: until then.
        journal_bytes: of the journal that led to it.
    """

    state: StudyState
    launches: Launches
    journal_bytes: int


class SnapshotContent:
    """A state between two events, as bytes to be written.

    Args:
        state: of a study; may handle events as soon as this is made.
        run_dir: of the study.
        launches: so far.
        journal_bytes: of the journal that led to the state.

    Raises:
        OSError: the journal cannot be read.
        SnapshotUnusableError: the journal is shorter.
    """

    def __init__(self, state: StudyState, run_dir: Path, launches: Launches, journal_bytes: int) -> None:
        self._parameters = state.ledger.parameters
        self._num_values = len(self._parameters)
        self._head = msgspec.msgpack.encode(
            _Head(
                byteorder=sys.byteorder,
                journal_bytes=journal_bytes,
                journal_mark=_mark_of(run_dir / JOURNAL_FILE, journal_bytes),
                launches=launches,
                num_values=self._num_values,
                books=state.snapshot(),
            )
        )

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The file, about a megabyte at a time."""
        checksum = 0
        for piece in self._content():
            checksum = zlib.crc32(piece, checksum)
            yield piece
        yield checksum.to_bytes(_CHECKSUM_BYTES, "little")

    def _content(self) -> Iterator[bytes | memoryview]:
        yield _MAGIC + len(self._head).to_bytes(_LENGTH_BYTES, "little")
        head = memoryview(self._head)
        for start in range(0, len(head), _PIECE_BYTES):
            yield head[start : start + _PIECE_BYTES]
        for start in range(0, self._num_values, _PIECE_VALUES):
            # A copy, made in one step of the interpreter: the array may grow, but not while somebody looks into it.
            yield self._parameters[start : min(start + _PIECE_VALUES, self._num_values)].tobytes()


def read_snapshot(run_dir: Path) -> Taken | None:
    """The newest snapshot of a study; None if there is none.

    Raises:
        SnapshotUnusableError: it is damaged, of another release or kind of machine, or not of this journal.
    """
    try:
        with (run_dir / SNAPSHOT_FILE).open("rb") as file:
            _require_sound(file)
            return _read(file, run_dir)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise SnapshotUnusableError(f"it cannot be read ({error})") from None
    except (LookupError, ValueError) as error:
        raise SnapshotUnusableError(f"it does not fit together ({type(error).__name__}: {error})") from None


def _require_sound(file: BinaryIO) -> None:
    """Read all of it, and go back to behind the magic bytes."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise SnapshotUnusableError("it is of another release of melissa-like, or no snapshot")
    left = os.fstat(file.fileno()).st_size - len(_MAGIC) - _CHECKSUM_BYTES
    checksum = zlib.crc32(_MAGIC)
    while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
        left -= len(piece)
        checksum = zlib.crc32(piece, checksum)
    if left or file.read() != checksum.to_bytes(_CHECKSUM_BYTES, "little"):
        raise SnapshotUnusableError("it is damaged, or was cut off")
    file.seek(len(_MAGIC))


def _read(file: BinaryIO, run_dir: Path) -> Taken:
    head = _DECODER.decode(file.read(int.from_bytes(file.read(_LENGTH_BYTES), "little")))
    if head.byteorder != sys.byteorder:
        raise SnapshotUnusableError(f"it was written on a machine of {head.byteorder}-endian numbers")
    if _mark_of(run_dir / JOURNAL_FILE, head.journal_bytes) != head.journal_mark:
        raise SnapshotUnusableError("the journal does not begin as the one that it was taken of")
    parameters, left = array("d"), head.num_values
    while left > 0:
        parameters.fromfile(file, min(left, _PIECE_VALUES))
        left -= _PIECE_VALUES
    state = StudyState.from_snapshot(head.books, parameters)
    return Taken(state=state, launches=head.launches, journal_bytes=head.journal_bytes)


def _mark_of(journal: Path, num_bytes: int) -> int:
    """The first and the last bytes of so many, and their number, as one number by which to know them.

    A line has its time in it, so no other journal has the same two.
    """
    file = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        if size < num_bytes:
            raise SnapshotUnusableError(f"it is ahead of the journal, which has {size} bytes of {num_bytes}")
        begins = os.pread(file, min(_MARK_BYTES, num_bytes), 0)
        ends = os.pread(file, min(_MARK_BYTES, num_bytes), max(0, num_bytes - _MARK_BYTES))
    finally:
        os.close(file)
    return zlib.crc32(ends, zlib.crc32(begins, zlib.crc32(num_bytes.to_bytes(_LENGTH_BYTES, "little"))))
