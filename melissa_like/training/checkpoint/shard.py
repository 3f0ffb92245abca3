"""A shard: what one server rank puts into a checkpoint, as files of its own in the folder of the checkpoint.

`rank-0.state` and `rank-0.index` are torch's, read with `weights_only`; `rank-0.samples` and `rank-0.held_out` are raw.
`rank-0.json` says how long each is and which checksums it has; it is written last, so a shard without it is none.
"""

import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch

from melissa_like.buffer import RowsMemory, SavedRows
from melissa_like.errors import UNREADABLE, CheckpointDamagedError
from melissa_like.training.checkpoint.durable import write_durably
from melissa_like.training.checkpoint.pieces import Piece, read_pieces, verify_pieces, write_pieces

__all__ = ["Shard", "ShardContent", "read_shard", "write_shard"]

_BLOCK = 2**20
_SAMPLES, _HELD_OUT = "samples", "held_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardContent:
    """What a rank saves.

    Attributes:
        state: what only a rank that goes on needs: numbers, texts, tensors on the host, in dictionaries and lists.
        index: what every rank needs to know of this one, small; of the same.
        samples: of the buffer, piece by piece; each is asked for when the last one is written.
        held_out: samples to validate on.
    """

    state: Mapping[str, Any]
    index: Mapping[str, Any]
    samples: Iterable[SavedRows] = ()
    held_out: Iterable[SavedRows] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    nbytes: int
    checksum: int


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    state: _File
    index: _File
    samples: tuple[Piece, ...]
    held_out: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard that is on the disk.

    Attributes:
        folder: of the checkpoint.
        rank: whose it is.
        checksum: CRC-32 of the file that describes it.
    """

    folder: Path
    rank: int
    checksum: int
    _note: _Note = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Of all its files but the description."""
        note = self._note
        return note.state.nbytes + note.index.nbytes + sum(piece.nbytes for piece in (*note.samples, *note.held_out))

    @property
    def num_samples(self) -> int:
        """Samples of the buffer."""
        return sum(piece.num_rows for piece in self._note.samples)

    @property
    def longest_samples(self) -> int:
        """Rows of the longest piece of the buffer."""
        return max((piece.num_rows for piece in self._note.samples), default=0)

    @property
    def longest_held_out(self) -> int:
        """Rows of the longest piece of the held-out samples."""
        return max((piece.num_rows for piece in self._note.held_out), default=0)

    def verify(self) -> None:
        """Read all files through.

        Raises:
            CheckpointDamagedError: one is not as it was written.
        """
        _verify(self._path("state"), self._note.state)
        _verify(self._path("index"), self._note.index)
        verify_pieces(self._path(_SAMPLES), self._note.samples)
        verify_pieces(self._path(_HELD_OUT), self._note.held_out)

    def state(self) -> dict[str, Any]:
        """What was saved as state, on the host; raises as `verify`."""
        return self._load("state", self._note.state)

    def index(self) -> dict[str, Any]:
        """What was saved as index; raises as `verify`."""
        return self._load("index", self._note.index)

    def samples(self, memory: RowsMemory) -> Iterator[Any]:
        """The pieces of the buffer, in memory of `longest_samples` rows; raises as `verify`."""
        return read_pieces(self._path(_SAMPLES), self._note.samples, memory)

    def held_out(self, memory: RowsMemory) -> Iterator[Any]:
        """The pieces of the held-out samples, in memory of `longest_held_out` rows; raises as `verify`."""
        return read_pieces(self._path(_HELD_OUT), self._note.held_out, memory)

    def _path(self, kind: str) -> Path:
        return _path_of(self.folder, self.rank, kind)

    def _load(self, kind: str, file: _File) -> dict[str, Any]:
        path = self._path(kind)
        _verify(path, file)
        try:
            loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch says of a type that it does not take
            raise CheckpointDamagedError(f"{path} cannot be loaded: {error}") from error
        return loaded


def write_shard(folder: Path, rank: int, content: ShardContent) -> Shard:
    """Write a shard, so that it is on the disk when this returns; of a half one nothing is left.

    Args:
        folder: of the checkpoint; made, if it is not there.
        rank: whose shard it is.
        content: of it.

    Raises:
        OSError: there is no room, or the folder cannot be written.
        Exception: what torch raises of a state that it cannot save.
    """
    kinds = (_SAMPLES, _HELD_OUT, "state", "index", "json", "json.tmp")
    paths = {kind: _path_of(folder, rank, kind) for kind in kinds}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # The samples first: their slots are held until they are copied.
        with _raw(paths[_SAMPLES]) as stream:
            samples = write_pieces(stream, content.samples)
            os.fsync(stream.fileno())
        with _raw(paths[_HELD_OUT]) as stream:
            held_out = write_pieces(stream, content.held_out)
            os.fsync(stream.fileno())
        note = _Note(
            state=_save(paths["state"], content.state),
            index=_save(paths["index"], content.index),
            samples=samples,
            held_out=held_out,
        )
        encoded = msgspec.json.encode(note)
        write_durably(paths["json"], encoded)
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    return Shard(folder=folder, rank=rank, checksum=zlib.crc32(encoded), _note=note)


def read_shard(folder: Path, rank: int) -> Shard:
    """A shard by its description; its other files are not looked at.

    Raises:
        CheckpointDamagedError: the description is missing, or is none.
    """
    path = _path_of(folder, rank, "json")
    try:
        encoded = path.read_bytes()
        note = msgspec.json.decode(encoded, type=_Note)
    except UNREADABLE as error:
        raise CheckpointDamagedError(f"{path} describes no shard: {error}") from error
    return Shard(folder=folder, rank=rank, checksum=zlib.crc32(encoded), _note=note)


def _path_of(folder: Path, rank: int, kind: str) -> Path:
    return folder / f"rank-{rank}.{kind}"


def _raw(path: Path) -> BinaryIO:
    return path.open("wb", buffering=0)


class _Checked(io.RawIOBase):
    """A file that torch writes to: it sums up what it is given, and keeps the error that torch would hide."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.nbytes = 0
        self.checksum = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view):
                written += self._stream.write(view[written:])
        except OSError as error:
            self.error = error
            raise
        self.checksum = zlib.crc32(view, self.checksum)
        self.nbytes += len(view)
        return len(view)


def _save(path: Path, content: Mapping[str, Any]) -> _File:
    with _raw(path) as stream:
        checked = _Checked(stream)
        try:
            torch.save(dict(content), checked)  # type: ignore[arg-type]  # any file that can be written will do
        except Exception as error:
            if checked.error is not None and error is not checked.error:
                raise checked.error from error
            raise
        os.fsync(stream.fileno())
    return _File(nbytes=checked.nbytes, checksum=checked.checksum)


def _verify(path: Path, file: _File) -> None:
    nbytes = checksum = 0
    try:
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(_BLOCK):
                nbytes += len(block)
                checksum = zlib.crc32(block, checksum)
    except OSError as error:
        raise CheckpointDamagedError(f"{path} cannot be read: {error}") from error
    if (nbytes, checksum) != (file.nbytes, file.checksum):
        raise CheckpointDamagedError(
            f"{path} has {nbytes} bytes with the checksum {checksum:#010x}, it was written with {file.nbytes} and "
            f"{file.checksum:#010x}"
        )
