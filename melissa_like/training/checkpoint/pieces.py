"""Samples in a raw file, piece by piece: each is copied, written and checked by itself, so memory is never doubled.

A piece holds some rows: first the labels of all of them, then each field of all of them, as in `BatchMemory`; or, where
sizes differ, what `melissa_like.buffer.ragged_rows` says.
"""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from melissa_like.buffer import RowsMemory, SavedRows
from melissa_like.errors import CheckpointDamagedError

__all__ = ["PIECE_NBYTES", "Piece", "read_pieces", "verify_pieces", "write_pieces"]

#: Of a piece at most, unless one sample alone is larger.
PIECE_NBYTES = 64 * 2**20
_BLOCK = 2**20


class Piece(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A stretch of the file.

    Attributes:
        num_rows: samples in it.
        nbytes: of them.
        checksum: CRC-32 of its bytes.
    """

    num_rows: int
    nbytes: int
    checksum: int


def write_pieces(stream: BinaryIO, pieces: Iterable[SavedRows]) -> tuple[Piece, ...]:
    """Append pieces to a file that is open without a buffer of its own.

    Args:
        stream: to be written.
        pieces: memory on the host; the next one is asked for when the last one is written.

    Raises:
        OSError: there is no room.
    """
    return tuple([_write(stream, piece) for piece in pieces])


def _write(stream: BinaryIO, piece: SavedRows) -> Piece:
    checksum = nbytes = 0
    for rows in piece.rows:
        view = rows.data.cast("B")
        checksum = zlib.crc32(view, checksum)
        nbytes += len(view)
        written = 0
        while written < len(view):  # a raw file may take less than it is given
            written += stream.write(view[written:])
    return Piece(num_rows=len(piece.labels), nbytes=nbytes, checksum=checksum)


def read_pieces(path: Path, pieces: Iterable[Piece], memory: RowsMemory) -> Iterator[Any]:
    """The pieces of a file one after the other, each checked before it is handed out.

    Args:
        path: of the file.
        pieces: as they were written.
        memory: on the host, for each.

    Raises:
        CheckpointDamagedError: the file is gone, too short, or holds other bytes.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            for number, piece in enumerate(pieces):
                read = memory.for_piece(piece.num_rows, piece.nbytes)
                checksum = 0
                for rows in read.rows:
                    view = rows.data.cast("B")
                    _fill(stream, view, path, number)
                    checksum = zlib.crc32(view, checksum)
                _compare(checksum, piece, path, number)
                yield read
    except OSError as error:
        raise CheckpointDamagedError(f"{path} cannot be read: {error}") from error


def verify_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Read a file through and compare; raises as `read_pieces`."""
    try:
        with path.open("rb", buffering=0) as stream:
            for number, piece in enumerate(pieces):
                left, checksum = piece.nbytes, 0
                while left:
                    block = bytearray(min(left, _BLOCK))
                    _fill(stream, memoryview(block), path, number)
                    checksum = zlib.crc32(block, checksum)
                    left -= len(block)
                _compare(checksum, piece, path, number)
    except OSError as error:
        raise CheckpointDamagedError(f"{path} cannot be read: {error}") from error


def _fill(stream: BinaryIO, view: memoryview, path: Path, number: int) -> None:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # BinaryIO does not know of raw files
        if not count:
            raise CheckpointDamagedError(f"{path} ends in the middle of piece {number}")
        filled += count


def _compare(checksum: int, piece: Piece, path: Path, number: int) -> None:
    if checksum != piece.checksum:
        raise CheckpointDamagedError(
            f"piece {number} of {path} has the checksum {checksum:#010x}, it was written with {piece.checksum:#010x}"
        )
