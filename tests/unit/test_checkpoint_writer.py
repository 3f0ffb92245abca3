"""The thread that writes checkpoints: what fails costs a checkpoint, never the training."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from melissa_like.buffer import BatchMemory
from melissa_like.training.checkpoint import CheckpointFolder, CheckpointWriter, Manifest, ShardContent
from melissa_like.training.checkpoint.host import on_host, random_states, restore_random_states
from tests.unit.test_checkpoint_files import content, piece

DEADLINE_S = 20.0


@contextmanager
def writing(folder: CheckpointFolder, rank: int = 0, **more: object) -> Iterator[CheckpointWriter]:
    writer = CheckpointWriter(folder, rank, **more)  # type: ignore[arg-type]
    writer.start()
    try:
        yield writer
    finally:
        writer.close(DEADLINE_S)


def finish(writer: CheckpointWriter, number: int) -> None:
    writer.finish(number, batches=7, layout_id=5, kept=(), num_ranks=1)


def test_a_checkpoint_is_written_and_completed_and_told(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    told: list[Manifest] = []
    let_go = threading.Event()
    with writing(folder, newest_number=3, on_complete=told.append) as writer:
        assert writer.ended == (3, False)
        writer.write(4, content(), let_go.set)
        assert writer.wait(DEADLINE_S)
        assert (writer.ended, writer.num_written, folder.complete()) == ((4, False), 1, [])
        assert let_go.is_set()
        finish(writer, 4)
        assert writer.wait(DEADLINE_S)
    assert folder.complete() == [4]
    assert told == [writer.newest]
    assert told[0].nbytes == writer.nbytes
    assert writer.problem is None


def test_what_cannot_be_written_is_told_and_the_next_one_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CheckpointFolder(tmp_path)
    (tmp_path / "000001").mkdir()
    (tmp_path / "000001" / "rank-0.samples").symlink_to("/dev/full")
    let_go = threading.Event()
    with writing(folder) as writer:
        writer.write(1, content(), let_go.set)
        assert writer.wait(DEADLINE_S)
        assert (writer.ended, let_go.is_set()) == ((1, True), True)
        assert "No space left on device" in (writer.problem or "")
        writer.remove(1)
        writer.fail(2, RuntimeError("nobody answered"))
        writer.write(3, content(), let_go.set)
        finish(writer, 3)
        assert writer.wait(DEADLINE_S)
    assert folder.complete() == [3]
    assert writer.ended == (3, False)
    assert "2 times; the last time is shown): RuntimeError: nobody answered" in (writer.problem or "")
    assert "WARNING: a checkpoint could not be written, the ones before stay: OSError" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_completed_is_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with writing(folder) as writer:
        writer.write(1, content(), lambda: None)
        assert writer.wait(DEADLINE_S)
        (tmp_path / "000001" / "rank-0.json").unlink()
        finish(writer, 1)
        assert writer.wait(DEADLINE_S)
    assert not (tmp_path / "000001").exists()
    assert "describes no shard" in (writer.problem or "")


def test_closing_gives_up_what_is_being_written(tmp_path: Path) -> None:
    began, go_on, let_go = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[BatchMemory]:
        yield piece(1)
        began.set()
        assert go_on.wait(DEADLINE_S)
        while True:
            yield piece(2)

    folder = CheckpointFolder(tmp_path)
    with writing(folder) as writer:
        writer.write(1, ShardContent(state={}, index={}, samples=slow()), let_go.set)
        assert began.wait(DEADLINE_S)
        assert not writer.wait(0.0)
        threading.Timer(0.05, go_on.set).start()
    assert let_go.is_set()
    assert list((tmp_path / "000001").iterdir()) == []
    assert writer.problem is None


def test_a_copy_on_the_host_does_not_change_with_the_original() -> None:
    layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = {"layers": layers.state_dict(), "more": [torch.ones(2), {"deep": (torch.zeros(1), 3)}]}
    copied = on_host(state)
    with torch.no_grad():
        layers[0].weight.fill_(7.0)
        state["more"][0].fill_(9.0)
    assert not (copied["layers"]["0.weight"] == 7.0).any()
    assert copied["more"][0].tolist() == [1.0, 1.0]
    assert copied["more"][1]["deep"][1] == 3
    layers.load_state_dict(copied["layers"])
    assert copied["layers"]._metadata == layers.state_dict()._metadata


def test_random_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    torch.save(random_states(cpu), tmp_path / "states")
    drawn = [random.random(), float(np.random.random()), torch.rand(1).item()]
    restore_random_states(torch.load(tmp_path / "states", weights_only=True), cpu)
    assert [random.random(), float(np.random.random()), torch.rand(1).item()] == drawn
