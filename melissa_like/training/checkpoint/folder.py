"""The folder of a study's checkpoints: which are complete, which one counts, which go.

A checkpoint is a folder `NNNNNN` with a shard of each server rank and `manifest.json`, which is written last: without
it a checkpoint is not complete, whatever else is there.
"""

import shutil
import sys
import zlib
from pathlib import Path

import msgspec

from melissa_like.errors import UNREADABLE, CheckpointDamagedError
from melissa_like.training.checkpoint.durable import sync_folder, write_durably
from melissa_like.training.checkpoint.shard import Shard, read_shard

__all__ = ["CheckpointFolder", "Manifest"]

_MANIFEST = "manifest.json"
_FORMAT = 1
_DAMAGED = ".damaged"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a complete checkpoint is.

    Attributes:
        number: of it, growing over the whole study.
        batches: training steps in it.
        layout_id: of the samples.
        kept: what the training loop had kept, by name, besides the surrogate: with nothing there is nothing to go on
            from.
        nbytes: of all shards.
        shards: by rank, the checksum of what describes each.
        format: of the files.
    """

    number: int
    batches: int
    layout_id: int
    kept: tuple[str, ...]
    nbytes: int
    shards: tuple[int, ...]
    format: int = _FORMAT


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The file: a manifest, and the CRC-32 of its text."""

    checksum: int
    checkpoint: msgspec.Raw


class CheckpointFolder:
    """Lists, completes and removes checkpoints; where several ranks share it, rank 0 completes and removes.

    Args:
        path: of the folder; need not be there.
        num_kept: complete checkpoints that are kept; the others go when a newer one is complete.

    Raises:
        ValueError: fewer than two are to be kept: when the newest is damaged, nothing would be left.
    """

    def __init__(self, path: Path, *, num_kept: int = 2) -> None:
        if num_kept < 2:
            raise ValueError(f"num_kept is {num_kept}: keep at least 2 checkpoints, the newest may be damaged")
        self.path = path
        self._num_kept = num_kept

    def place_of(self, number: int) -> Path:
        """The folder of one checkpoint."""
        return self.path / f"{number:06d}"

    @property
    def newest(self) -> int:
        """The highest number that was ever used and is still there, of whatever state; 0 without any."""
        return max((_number_of(entry.name.removesuffix(_DAMAGED)) or 0 for entry in self._entries()), default=0)

    def complete(self) -> list[int]:
        """Numbers of the complete checkpoints, newest first."""
        numbers = [_number_of(entry.name) for entry in self._entries() if (entry / _MANIFEST).is_file()]
        return sorted((number for number in numbers if number is not None), reverse=True)

    def manifest_of(self, number: int) -> Manifest:
        """What a complete checkpoint says of itself.

        Raises:
            CheckpointDamagedError: it has none that can be read.
        """
        path = self.place_of(number) / _MANIFEST
        try:
            sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
            if zlib.crc32(sealed.checkpoint) != sealed.checksum:
                raise CheckpointDamagedError(f"{path} has other bytes than were written")
            manifest = msgspec.json.decode(sealed.checkpoint, type=Manifest)
        except UNREADABLE as error:
            raise CheckpointDamagedError(f"{path} is no manifest: {error}") from error
        if manifest.format != _FORMAT or manifest.number != number:
            raise CheckpointDamagedError(
                f"{path} is of checkpoint {manifest.number} in the format {manifest.format}, expected {number} in "
                f"{_FORMAT}"
            )
        return manifest

    def shards_of(self, manifest: Manifest) -> list[Shard]:
        """The shards of a checkpoint, by rank; only what describes them is looked at.

        Raises:
            CheckpointDamagedError: one is missing, or is not the one that the manifest names.
        """
        place = self.place_of(manifest.number)
        shards = [read_shard(place, rank) for rank in range(len(manifest.shards))]
        for shard, checksum in zip(shards, manifest.shards, strict=True):
            if shard.checksum != checksum:
                raise CheckpointDamagedError(f"{place} has another shard of rank {shard.rank} than its manifest names")
        return shards

    def finish(self, number: int, *, batches: int, layout_id: int, kept: tuple[str, ...], num_ranks: int) -> Manifest:
        """Make a checkpoint complete, whose shards are all down; then remove what is not needed any more.

        Raises:
            OSError: the manifest cannot be written.
            CheckpointDamagedError: a shard is missing.
        """
        place = self.place_of(number)
        shards = [read_shard(place, rank) for rank in range(num_ranks)]
        manifest = Manifest(
            number=number,
            batches=batches,
            layout_id=layout_id,
            kept=kept,
            nbytes=sum(shard.nbytes for shard in shards),
            shards=tuple(shard.checksum for shard in shards),
        )
        for folder in (self.path, self.path.parent):  # the names of the folders that it lies in
            sync_folder(folder)
        body = msgspec.json.encode(manifest)
        sealed = _Sealed(checksum=zlib.crc32(body), checkpoint=msgspec.Raw(body))
        write_durably(place / _MANIFEST, msgspec.json.encode(sealed))
        self.prune()
        return manifest

    def prune(self) -> None:
        """Remove all but the newest complete checkpoints, and what is older than these and not complete."""
        kept = self.complete()[: self._num_kept]
        for entry in self._entries():
            number = _number_of(entry.name.removesuffix(_DAMAGED))
            if number is not None and number not in kept and kept and number < kept[0]:
                _remove(entry)

    def remove(self, number: int) -> None:
        """Remove a checkpoint, complete or not."""
        _remove(self.place_of(number))

    def go_on_from(self, number: int) -> None:
        """A training goes on from a checkpoint, 0 is none: newer ones do not count any more, because they are damaged.

        They are set aside, and go when a newer one is complete; what never was complete goes now.

        Raises:
            OSError: one cannot be renamed.
        """
        complete = set(self.complete())
        for entry in self._entries():
            found = _number_of(entry.name)
            if found is not None and found not in complete:
                _remove(entry)
            elif found is not None and found > number:
                entry.rename(entry.with_name(entry.name + _DAMAGED))

    def _entries(self) -> list[Path]:
        return [entry for entry in self.path.iterdir() if entry.is_dir()] if self.path.is_dir() else []


def _number_of(name: str) -> int | None:
    return int(name) if name.isdecimal() and name.isascii() else None


def _remove(place: Path) -> None:
    """First what makes it complete: one that is half removed must not count."""
    try:
        (place / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(place)
    except FileNotFoundError:
        return
    except OSError as error:  # it costs room, not the training
        sys.stderr.write(f"a checkpoint that is not needed any more cannot be removed: {error}\n")
