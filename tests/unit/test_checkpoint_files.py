"""Checkpoints as files: what is complete is whole, and whatever happens to a disk, nothing else is taken for it."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from melissa_like.buffer import BatchMemory
from melissa_like.buffer.batch_memory import allocate
from melissa_like.errors import CheckpointDamagedError
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.checkpoint import CheckpointFolder, Shard, ShardContent, read_shard, write_shard

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(2, 3)), FieldSpec(name="flag", shape=(5,), dtype="uint8")), parameters=("a",)
)
STATE = {"weights": {"layer": torch.arange(6.0).reshape(2, 3)}, "batches": 7, "names": ["a", "b"], "rng": 2**100}


def piece(*numbers: int) -> BatchMemory:
    memory = allocate(LAYOUT, len(numbers), device=torch.device("cpu"))
    for row, number in enumerate(numbers):
        for tensor in memory.tensors:
            tensor[row] = number
    return memory


def content(**changes: Any) -> ShardContent:
    given = {"state": STATE, "index": {"count": 3}, "samples": [piece(1, 2), piece(3)], "held_out": [piece(9)]}
    return ShardContent(**{**given, **changes})


def complete(folder: CheckpointFolder, number: int, *, num_ranks: int = 1) -> None:
    for rank in range(num_ranks):
        write_shard(folder.place_of(number), rank, content())
    folder.finish(number, batches=10 * number, layout_id=5, kept=("optimizer",), num_ranks=num_ranks)


def numbers_in(pieces: Iterator[BatchMemory]) -> list[list[float]]:
    return [[float(value) for value in piece.fields["u"][:, 0, 0]] for piece in pieces]


def shards(folder: CheckpointFolder, number: int) -> list[Shard]:
    return folder.shards_of(folder.manifest_of(number))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    complete(folder, 4, num_ranks=2)
    manifest = folder.manifest_of(4)
    assert (manifest.number, manifest.batches, manifest.layout_id, manifest.kept) == (4, 40, 5, ("optimizer",))
    first, second = folder.shards_of(manifest)
    assert manifest.nbytes == first.nbytes + second.nbytes
    for shard in (first, second):
        shard.verify()
        memory = allocate(LAYOUT, shard.longest_samples, device=torch.device("cpu"))
        assert (shard.num_samples, shard.longest_samples) == (3, 2)
        assert numbers_in(shard.samples(memory)) == [[1, 2], [3]]
        assert numbers_in(shard.held_out(memory)) == [[9]]
        loaded = shard.state()
        torch.testing.assert_close(loaded.pop("weights"), STATE["weights"])
        assert loaded == {name: value for name, value in STATE.items() if name != "weights"}
        assert shard.index() == {"count": 3}


def test_the_manifest_can_be_read_by_whoever_has_no_torch(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1)
    told = json.loads((tmp_path / "000001" / "manifest.json").read_text())["checkpoint"]
    assert (told["number"], told["kept"]) == (1, ["optimizer"])


def test_a_checkpoint_without_manifest_is_not_complete(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert (folder.complete(), folder.newest) == ([], 0)
    write_shard(folder.place_of(1), 0, content())
    assert (folder.complete(), folder.newest) == ([], 1)
    with pytest.raises(CheckpointDamagedError, match=r"rank-1.json describes no shard"):
        folder.finish(1, batches=1, layout_id=5, kept=(), num_ranks=2)
    assert folder.complete() == []


def test_the_newest_ones_are_kept_and_what_was_not_completed_goes(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, num_kept=2)
    for number in (1, 2):
        complete(folder, number)
    folder.go_on_from(1)
    assert folder.complete() == [1]
    assert (tmp_path / "000002.damaged").is_dir()
    write_shard(folder.place_of(3), 0, content())  # abandoned
    assert folder.newest == 3
    complete(folder, 4)
    assert folder.complete() == [4, 1]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["000001", "000004"]
    write_shard(folder.place_of(6), 0, content())  # still being written
    complete(folder, 5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["000004", "000005", "000006"]
    assert folder.newest == 6


def test_one_checkpoint_is_too_few() -> None:
    with pytest.raises(ValueError, match="keep at least 2 checkpoints"):
        CheckpointFolder(Path("nowhere"), num_kept=1)


def flip(path: Path, at: int = 10) -> None:
    spoiled = bytearray(path.read_bytes())
    spoiled[at] ^= 1
    path.write_bytes(spoiled)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("kind", ["state", "index", "samples", "held_out"])
@pytest.mark.parametrize("damage", [flip, cut_short, Path.unlink])
def test_damage_of_any_file_is_found(tmp_path: Path, kind: str, damage: Callable[[Path], object]) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1, num_ranks=2)
    damage(tmp_path / "000001" / f"rank-1.{kind}")
    first, second = shards(folder, 1)
    first.verify()
    with pytest.raises(CheckpointDamagedError, match=rf"rank-1\.{kind}"):
        second.verify()
    memory = allocate(LAYOUT, 2, device=torch.device("cpu"))
    readers = {
        "state": second.state,
        "index": second.index,
        "samples": lambda: list(second.samples(memory)),
        "held_out": lambda: list(second.held_out(memory)),
    }
    with pytest.raises(CheckpointDamagedError):
        readers[kind]()


@pytest.mark.parametrize("damage", [flip, cut_short, grow, Path.unlink])
def test_a_description_that_is_not_the_one_of_the_manifest_is_refused(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1, num_ranks=2)
    damage(tmp_path / "000001" / "rank-1.json")
    with pytest.raises(CheckpointDamagedError):
        shards(folder, 1)


@pytest.mark.parametrize("at", [5, 20, -8])
def test_a_manifest_with_a_flipped_bit_is_refused(tmp_path: Path, at: int) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1)
    flip(tmp_path / "000001" / "manifest.json", at)
    with pytest.raises(CheckpointDamagedError):
        folder.manifest_of(1)


def test_a_manifest_in_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1)
    (tmp_path / "000001").rename(tmp_path / "000002")
    with pytest.raises(CheckpointDamagedError, match="is of checkpoint 1"):
        folder.manifest_of(2)


def until_full(num_pieces: int) -> Iterator[BatchMemory]:
    """A source that finds the disk full: the error is the one of a write."""
    for _ in range(num_pieces):
        yield piece(1, 2)
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": until_full(2)},
        {"held_out": until_full(0)},
        {"state": {"loop": lambda: None}},
    ],
)
def test_of_a_shard_that_cannot_be_written_nothing_is_left(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = CheckpointFolder(tmp_path)
    complete(folder, 1)
    with pytest.raises(Exception, match=r"No space left|pickle|lambda"):
        write_shard(folder.place_of(2), 0, content(**changes))
    assert list((tmp_path / "000002").iterdir()) == []
    assert folder.complete() == [1]
    shards(folder, 1)[0].verify()


@pytest.mark.parametrize("kind", ["samples", "state"])
def test_a_full_disk_is_told_as_such_whoever_writes(tmp_path: Path, kind: str) -> None:
    """The device that is always full stands for the disk."""
    place = tmp_path / "000001"
    place.mkdir()
    (place / f"rank-0.{kind}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_shard(place, 0, content())
    assert caught.value.errno == errno.ENOSPC
    assert list(place.iterdir()) == []


def test_a_state_that_is_not_of_plain_types_is_refused_at_load(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, content(index={"path": Path("x")}))
    with pytest.raises(CheckpointDamagedError, match=r"rank-0.index cannot be loaded"):
        read_shard(tmp_path, 0).index()


def test_a_shard_without_samples_has_none(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, 0, content(samples=(), held_out=()))
    shard.verify()
    assert (shard.num_samples, shard.longest_samples) == (0, 0)
    assert numbers_in(shard.samples(allocate(LAYOUT, 1, device=torch.device("cpu")))) == []
