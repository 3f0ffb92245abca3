"""When a rank takes a checkpoint, and what becomes of the last ones when the training has ended."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from melissa_like.loading import Collective, LocalState, SoloCollective, ThreadCollective
from melissa_like.models import MLP
from melissa_like.protocol.control import Checkpointed
from melissa_like.server.checkpoints import Checkpoints
from melissa_like.server.cut import take_cut
from melissa_like.training import TrainingStream, build_surrogate
from melissa_like.training.checkpoint import CheckpointFolder
from tests.plugins.means import Means
from tests.unit.test_restoring import LAYOUT, Rank, find, ranks, send_all

DEADLINE_S = 20.0


class Saving:
    """The checkpoints of one rank, and the stream of a training that does nothing."""

    def __init__(self, one: Rank, folder: CheckpointFolder, stack: ExitStack, *, interval_s: float = 0.0) -> None:
        self.told: list[Checkpointed] = []
        self.rank = one
        self.means = Means(then=one.buffer)
        surrogate = build_surrogate(layout=LAYOUT, parameter_bounds={"a": (0.0, 1.0)}, num_steps=4, model=MLP)
        self.stream = TrainingStream([], surrogate=surrogate)
        self.stream.keep("optimizer", torch.optim.SGD(self.stream.surrogate.network.parameters(), lr=0.1))
        look = partial(
            take_cut,
            assembler=one.assembler,
            receiver=one.receiver,
            buffer=one.buffer,
            held_out=one.held_out,
            consumers={"means": self.means},
            window=None,
            saves_buffer=True,
        )
        made = Checkpoints(
            folder,
            rank=one.rank,
            num_ranks=one.num_ranks,
            newest_number=0,
            interval_s=interval_s,
            receiver=one.receiver,
            look=look,
            monitoring=lambda: {"position": 3},
            tell=self.told.append,
            layout=LAYOUT,
            device=torch.device("cpu"),
        )
        self.checkpoints = stack.enter_context(made)

    def state(self) -> LocalState:
        return self.checkpoints.add_to(LocalState(delivered=0))

    def await_written(self, number: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.state().checkpoint_done != number:
            assert time.monotonic() < deadline


@contextmanager
def saving(tmp_path: Path, num_ranks: int = 1, **more: float) -> Iterator[list[Saving]]:
    with ranks(num_ranks) as made, ExitStack() as stack:
        send_all(made, 0)
        yield [Saving(one, CheckpointFolder(tmp_path), stack, **more) for one in made]


def finish(all_ranks: list[Saving], until: Callable[[Saving], float]) -> None:
    """On all ranks at once."""
    num = len(all_ranks)
    collectives: list[Collective] = [SoloCollective()] if num == 1 else list(ThreadCollective.ranks(num))
    with ThreadPoolExecutor(num) as pool:
        futures = [
            pool.submit(one.checkpoints.finish, collective, until(one))
            for one, collective in zip(all_ranks, collectives, strict=True)
        ]
        for future in futures:
            future.result(DEADLINE_S)


def test_a_checkpoint_is_due_when_the_interval_has_passed_since_the_last(tmp_path: Path) -> None:
    with saving(tmp_path, interval_s=1000.0) as [one]:
        assert not one.state().checkpoint_due
    with saving(tmp_path, interval_s=0.0) as [one]:
        assert one.state().checkpoint_due
        assert (one.state().checkpoint_done, one.state().checkpoint_failed) == (0, False)
        one.checkpoints.take(1, one.stream)
        one.await_written(1)
        one.checkpoints.settle(1, True)
        finish([one], lambda one: time.monotonic() + DEADLINE_S)
        assert [(said.number, said.batches) for said in one.told] == [(1, 0)]
        assert one.checkpoints.figures().number == 1
        assert one.checkpoints.figures().written == 1
        assert one.checkpoints.figures().seconds_paused > 0
        assert one.checkpoints.problem is None
    [(found, _)] = find(CheckpointFolder(tmp_path), 1)
    assert found is not None
    assert found.manifest.kept == ("optimizer",)
    saved = found.shards[0].state()
    assert sorted(saved) == ["consumers", "monitoring", "random", "training"]
    assert saved["monitoring"] == {"position": 3}
    assert saved["consumers"]["means"]["count"] == 0


def test_a_rank_that_failed_costs_the_checkpoint_of_all(tmp_path: Path) -> None:
    with saving(tmp_path, 2) as both:
        for one in both:
            one.checkpoints.take(1, one.stream)
            one.await_written(1)
        for one in both:
            one.checkpoints.settle(1, False)
            one.checkpoints.take(2, one.stream)
        finish(both, lambda one: time.monotonic() + DEADLINE_S)
        assert [[said.number for said in one.told] for one in both] == [[2], []]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002"]


def test_at_the_end_what_is_down_on_all_ranks_is_completed(tmp_path: Path) -> None:
    """The one before the last was written too late for the agreement; the last one is not written in time by rank 1."""
    with saving(tmp_path, 2) as both:
        for one in both:
            one.checkpoints.take(1, one.stream)
            one.await_written(1)
        both[0].checkpoints.take(None, both[0].stream)
        both[0].await_written(2)
        both[1].means.state_dict = lambda: 1 // 0  # type: ignore[method-assign,return-value,assignment]
        both[1].checkpoints.take(None, both[1].stream)
        finish(both, lambda one: time.monotonic() + DEADLINE_S)
        assert [said.number for said in both[0].told] == [1]
        assert "ZeroDivisionError" in (both[1].checkpoints.problem or "")
    assert CheckpointFolder(tmp_path).complete() == [1]
    assert not (tmp_path / "000002").exists()


def test_what_cannot_be_looked_at_lets_the_slots_go(tmp_path: Path) -> None:
    with saving(tmp_path) as [one]:
        one.means.state_dict = lambda: 1 // 0  # type: ignore[method-assign,return-value,assignment]
        one.checkpoints.take(1, one.stream)
        one.await_written(1)
        assert one.state().checkpoint_failed
        one.rank.train(4)
        while one.rank.buffer.population().evicted < 2:  # nothing is kept, so what is seen can give way
            one.rank.send(one.rank.buffer.population().puts, range(4))
            one.rank.train(4)


def test_the_last_one_is_completed_also_within_a_short_time(tmp_path: Path) -> None:
    with saving(tmp_path) as [one]:
        one.checkpoints.take(None, one.stream)
        finish([one], lambda one: time.monotonic() + 4.0)
    assert CheckpointFolder(tmp_path).complete() == [1]


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_there_may_be_no_time_for_the_last_one(tmp_path: Path, seconds: float) -> None:
    with saving(tmp_path) as [one]:
        one.checkpoints.take(None, one.stream)
        finish([one], lambda one: time.monotonic() + seconds)
