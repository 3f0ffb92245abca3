"""Ranks as threads over real buffers: uneven, empty and full ranks step together, lose nothing and end together."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from melissa_like.buffer import BufferClosedError, SampleBuffer, fifo, firo, reservoir
from melissa_like.errors import ConfigurationError
from melissa_like.loading import (
    AgreementTerms,
    Batch,
    Loader,
    LocalState,
    Measurement,
    Moments,
    ServerRankFailedError,
    SoloCollective,
    ThreadCollective,
    Turn,
)
from melissa_like.records import FieldSpec, FloatArray, Layout, SampleKey

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(2,)),), parameters=("a",))
DEADLINE_S = 20.0


def put(buffer: SampleBuffer, number: int, timeout_s: float = DEADLINE_S) -> None:
    values = [np.full(2, number, np.float32)]
    done = buffer.put(SampleKey(number, 0), values, time=0.0, parameters=np.array([1.0]), timeout_s=timeout_s)
    assert done, "a put waited for ever"


def feed(buffer: SampleBuffer, numbers: range) -> None:
    for number in numbers:
        put(buffer, number)
    buffer.end_reception()


@dataclass
class Trained:
    """What one rank's trainer saw."""

    numbers: Counter[int] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    validations: list[int] = field(default_factory=list)
    statistics: Mapping[str, tuple[Moments, ...]] | None = None

    def take(self, turn: Turn) -> None:
        numbers = [] if turn.batch is None else turn.batch.simulations.tolist()
        if turn.batch is not None:
            assert turn.batch.fields["u"][:, 0].tolist() == numbers
        self.numbers.update(numbers)
        self.sizes.append(len(numbers))
        self.totals.append(turn.num_samples_global)
        self.progress.append(turn.progress)
        if turn.validate:
            self.validations.append(len(self.sizes))
        if turn.statistics is not None:
            assert self.statistics is None
            self.statistics = turn.statistics


def run(
    buffers: list[SampleBuffer],
    numbers: list[range],
    *,
    batch_size: int = 4,
    on_turn: Callable[[int, Turn], None] = lambda rank, turn: None,
    max_batches: int | None = None,
    measurement: Measurement | None = None,
) -> list[Trained]:
    """Feed each buffer from a thread of its own and train on every rank until the agreed end."""
    terms = AgreementTerms(
        batch_size=batch_size,
        expected_samples=max(1, sum(map(len, numbers))),
        validation_interval=5,
        max_batches=max_batches,
    )
    collectives = ThreadCollective.ranks(len(buffers), deadline_s=DEADLINE_S)

    def train(rank: int) -> Trained:
        trained = Trained()
        buffer = buffers[rank]
        loader = Loader(
            buffer,
            terms,
            state=lambda: LocalState(delivered=buffer.population().puts, validation_ready=True),
            collective=collectives[rank],
            measurement=measurement,
        )
        with loader:
            for turn in loader:
                trained.take(turn)
                on_turn(rank, turn)
        return trained

    with ThreadPoolExecutor(2 * len(buffers)) as pool:
        feeding = [pool.submit(feed, buffer, range_) for buffer, range_ in zip(buffers, numbers, strict=True)]
        training = [pool.submit(train, rank) for rank in range(len(buffers))]
        try:
            results = [future.result(2 * DEADLINE_S) for future in training]
            if max_batches is None:
                for future in feeding:
                    future.result(DEADLINE_S)
        finally:
            for buffer in buffers:
                buffer.close()
    return results


def together(results: list[Trained]) -> Counter[int]:
    """All ranks stepped equally often, and knew the size of the joined batch; what they trained on."""
    assert len({len(trained.sizes) for trained in results}) == 1
    for index, total in enumerate(results[0].totals):
        assert total == sum(trained.sizes[index] for trained in results)
        assert all(trained.totals[index] == total for trained in results)
    assert all(trained.progress == results[0].progress for trained in results)
    assert all(trained.validations == results[0].validations for trained in results)
    return sum((trained.numbers for trained in results), Counter())


MAKERS = {
    "fifo": lambda: fifo(LAYOUT, 12),
    "firo": lambda: firo(LAYOUT, 12, watermark=6),
    "reservoir": lambda: reservoir(LAYOUT, 12, watermark=6),
    "views": lambda: reservoir(LAYOUT, 12, watermark=6, views_per_sample=3),
}


@pytest.mark.parametrize("recipe", list(MAKERS))
@pytest.mark.parametrize(
    "lengths",
    [(50,), (40, 40), (90, 7), (0, 60), (60, 0), (3, 70, 20), (1, 1), (0, 0)],
    ids=lambda lengths: "-".join(map(str, lengths)),
)
def test_uneven_streams_end_together_and_every_sample_is_trained_on(recipe: str, lengths: tuple[int, ...]) -> None:
    """A full rank beside an empty one would wait for ever without rule 6: its put opens every gate."""
    starts = [1000 * rank for rank in range(len(lengths))]
    numbers = [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    trained = together(run([MAKERS[recipe]() for _ in lengths], numbers))
    assert set(trained) == {number for range_ in numbers for number in range_}
    if recipe in ("fifo", "firo"):
        assert set(trained.values()) <= {1}
    if recipe == "views":
        assert trained.total() == 3 * sum(lengths)


def test_an_empty_rank_waits_for_the_others_full_batches() -> None:
    """Rank 1 gets nothing until rank 0 is full; rank 0's put waits, so both step, rank 1 with weight zero."""
    buffers = [fifo(LAYOUT, 8), fifo(LAYOUT, 8)]
    results = run(buffers, [range(200), range(1000, 1000)])
    together(results)
    assert set(results[1].sizes) == {0}
    assert set(results[0].numbers) == set(range(200))


@pytest.mark.parametrize("recipe", ["reservoir", "fifo"])
def test_a_put_that_waits_for_a_training_step_under_way_makes_no_smaller_batch(recipe: str) -> None:
    if recipe == "fifo":
        buffer = fifo(LAYOUT, capacity=5)
    else:
        buffer = reservoir(LAYOUT, capacity=5, watermark=1, views_per_sample=1, seed=0)

    def until_a_put_waits(rank: int, turn: Turn) -> None:
        if buffer.population().puts < 8:
            buffer.wait(until=lambda offer: offer.put_waits, timeout_s=DEADLINE_S)
            buffer.wait(until=lambda offer: offer.held == 0, timeout_s=0.2)  # for what must not be drawn

    trained = run([buffer], [range(8)], on_turn=until_a_put_waits)[0]
    assert trained.sizes == [4, 4]
    assert trained.numbers == Counter(range(8))


def test_progress_grows_to_one() -> None:
    (trained,) = run([fifo(LAYOUT, 8)], [range(100)])
    assert trained.progress == sorted(trained.progress)
    assert trained.progress[-1] == 1.0
    assert trained.validations == list(range(5, len(trained.sizes) + 1, 5))


def test_max_batches_end_every_rank_at_the_same_step() -> None:
    results = run([reservoir(LAYOUT, 12), reservoir(LAYOUT, 12)], [range(50), range(1000, 1010)], max_batches=7)
    together(results)
    assert len(results[0].sizes) == 7


def measured(batch: Batch) -> dict[str, torch.Tensor]:
    """The field as a quantity of two components, and one that only the labels tell."""
    return {"u": batch.fields["u"] * torch.tensor([1.0, -2.0]), "number": batch.simulations.unsqueeze(1)}


def test_statistics_are_those_of_all_ranks_and_come_once() -> None:
    buffers = [reservoir(LAYOUT, 100, watermark=10), reservoir(LAYOUT, 100, watermark=10)]
    wanted = Measurement(quantities={"u": 2, "number": 1}, measure=measured, num_samples=1000)
    results = run(buffers, [range(30), range(30, 60)], measurement=wanted)
    assert results[0].statistics == results[1].statistics
    assert results[0].statistics is not None
    first, second = results[0].statistics["u"]
    (number,) = results[0].statistics["number"]
    assert first.count == second.count >= 2 * 10
    assert second.mean == pytest.approx(-2 * first.mean)
    assert second.std == pytest.approx(2 * first.std)
    assert (number.count, number.mean, number.std) == (first.count, pytest.approx(first.mean), pytest.approx(first.std))


def test_the_range_of_the_time_is_that_of_all_ranks_and_comes_once_when_each_knows_it() -> None:
    """Rank 1 learns it after some agreements, as from a simulation that ends; nothing is trained before."""
    buffers = [fifo(LAYOUT, 64), fifo(LAYOUT, 64)]
    for buffer in buffers:
        feed(buffer, range(8))
    asked = [0, 0]
    ranges: list[list[tuple[float, float] | None]] = [[], []]

    def state(rank: int) -> LocalState:
        asked[rank] += 1
        known = rank == 0 or asked[rank] > 3
        return LocalState(delivered=8, time_known=known, time_range=(rank, 10.0 + rank) if known else None)

    terms = AgreementTerms(batch_size=4, expected_samples=16, steps_per_agreement=1)
    collectives = ThreadCollective.ranks(2, deadline_s=DEADLINE_S)

    def train(rank: int) -> None:
        with Loader(buffers[rank], terms, state=lambda: state(rank), collective=collectives[rank]) as loader:
            for turn in loader:
                ranges[rank].append(turn.time_range)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(train, rank) for rank in range(2)]:
            future.result(DEADLINE_S)
    assert ranges == [[(0, 11.0), None], [(0, 11.0), None]]


def full_buffer() -> SampleBuffer:
    """With a put that waits."""
    buffer = fifo(LAYOUT, 4)
    for number in range(4):
        put(buffer, number)
    assert not buffer.put(
        SampleKey(4, 0), [np.zeros(2, np.float32)], time=0.0, parameters=np.array([1.0]), timeout_s=0.0
    )
    return buffer


def test_a_full_buffer_before_the_range_of_the_time_is_known_is_told_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("melissa_like.loading.preparation._BLIND_S", 0.05)
    terms = AgreementTerms(batch_size=4, expected_samples=16)
    state = LocalState(delivered=4, time_known=False)
    with (
        pytest.raises(
            ConfigurationError, match=r"set solver.num_steps, or solver.end_time .* or raise buffer.capacity"
        ),
        Loader(full_buffer(), terms, state=lambda: state, collective=SoloCollective()) as loader,
    ):
        next(loader)


def test_a_full_buffer_waits_for_the_range_of_the_time_that_is_on_its_way() -> None:
    """Small simulations may have ended, and the launcher's word of it comes a little later."""
    asked = 0

    def state() -> LocalState:
        nonlocal asked
        asked += 1
        known = asked > 5
        return LocalState(delivered=4, time_known=known, time_range=(0.0, 9.0) if known else None)

    terms = AgreementTerms(batch_size=4, expected_samples=16)
    with Loader(full_buffer(), terms, state=state, collective=SoloCollective()) as loader:
        assert next(loader).time_range == (0.0, 9.0)


def test_a_task_that_measures_other_components_than_it_says_is_told() -> None:
    wanted = Measurement(quantities={"u": 1}, measure=measured)
    with pytest.raises(ValueError, match=r"'u' with 2 components, expected 1"):
        run([fifo(LAYOUT, 8)], [range(20)], measurement=wanted, max_batches=1)


def test_the_receivers_error_ends_every_rank_with_its_cause() -> None:
    buffers = [fifo(LAYOUT, 8), fifo(LAYOUT, 8)]
    cause = RuntimeError("the socket broke")
    turns = [0, 0]

    def break_rank_1(rank: int, turn: Turn) -> None:
        turns[rank] += 1
        if rank == 1 and turns[1] == 3:
            buffers[1].close(cause)

    caught: list[BaseException] = []
    terms = AgreementTerms(batch_size=2, expected_samples=1000)
    collectives = ThreadCollective.ranks(2, deadline_s=DEADLINE_S)

    def train(rank: int) -> None:
        state = LocalState(delivered=0)
        loader = Loader(buffers[rank], terms, state=lambda: state, collective=collectives[rank])
        try:
            with loader:
                for turn in loader:
                    break_rank_1(rank, turn)
        except Exception as error:
            caught.append(error)

    def supply(rank: int) -> None:
        try:
            feed(buffers[rank], range(1000))
        except BufferClosedError:
            return

    threads = [threading.Thread(target=target, args=(rank,)) for rank in range(2) for target in (train, supply)]
    for thread in threads:
        thread.start()
    for thread in (threads[0], threads[2]):
        thread.join(2 * DEADLINE_S)
        assert not thread.is_alive()
    buffers[0].close()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert {type(error) for error in caught} == {BufferClosedError, ServerRankFailedError}
    closed = next(error for error in caught if isinstance(error, BufferClosedError))
    assert closed.__cause__ is cause


def test_a_trainer_that_leaves_early_ends_the_other_rank() -> None:
    buffers = [fifo(LAYOUT, 400), fifo(LAYOUT, 400)]
    for buffer in buffers:
        feed(buffer, range(300))
    terms = AgreementTerms(batch_size=2, expected_samples=600)
    collectives = ThreadCollective.ranks(2, deadline_s=DEADLINE_S)

    def train(rank: int) -> None:
        loader = Loader(buffers[rank], terms, state=lambda: LocalState(delivered=300), collective=collectives[rank])
        with loader:
            for number, _ in enumerate(loader):
                if rank == 0 and number == 3:
                    raise ArithmeticError("the loss is not finite")

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(train, rank) for rank in range(2)]
        with pytest.raises(ArithmeticError):
            futures[0].result(2 * DEADLINE_S)
        with pytest.raises(ServerRankFailedError, match="server rank 0 failed"):
            futures[1].result(2 * DEADLINE_S)


def test_only_settled_draws_count_as_seen() -> None:
    buffer = fifo(LAYOUT, 40)
    feed(buffer, range(20))
    terms = AgreementTerms(batch_size=4, expected_samples=20)
    loader = Loader(buffer, terms, state=lambda: LocalState(delivered=20), collective=SoloCollective())
    with loader:
        next(loader)
        assert buffer.population().unseen == 20  # its training step has not ended
        next(loader)
        assert buffer.population().unseen == 16
        loader.settle()
        assert buffer.population().unseen == 12


class CountingCollective(SoloCollective):
    """Fills the buffer when the loader asks for the third time."""

    def __init__(self, buffer: SampleBuffer) -> None:
        self._buffer = buffer
        self.calls = 0

    def all_gather(self, values: FloatArray) -> FloatArray:
        self.calls += 1
        if self.calls == 3:
            feed(self._buffer, range(40))
        return super().all_gather(values)


def test_collectives_are_counted_from_the_first_turn_on() -> None:
    buffer = fifo(LAYOUT, 64)
    collective = CountingCollective(buffer)
    terms = AgreementTerms(batch_size=4, expected_samples=40, steps_per_agreement=2)
    loader = Loader(buffer, terms, state=lambda: LocalState(delivered=0), collective=collective)
    with loader:
        assert sum(1 for _ in loader) == 10
    # Three found nothing, the fourth agreed on the first two turns; four more for the others, and one for the end.
    assert (collective.calls, loader.counters().num_collectives) == (9, 5)
    assert loader.counters().collective_s >= 0


def test_all_ranks_take_a_checkpoint_at_the_same_turn_and_hear_when_it_is_down_on_all() -> None:
    """Rank 0 says when it is time; rank 1 writes the first in no time, and fails to write the second."""
    buffers = [fifo(LAYOUT, 200) for _ in range(2)]
    collectives = ThreadCollective.ranks(2, deadline_s=DEADLINE_S)
    terms = AgreementTerms(batch_size=4, expected_samples=400, steps_per_agreement=2)
    taken: list[list[tuple[int, int]]] = [[], []]
    heard: list[list[tuple[int, bool]]] = [[], []]
    for buffer in buffers:
        feed(buffer, range(160))

    def train(rank: int) -> int:
        done, failed = 6, False

        def state() -> LocalState:
            return LocalState(
                delivered=0,
                checkpoint_due=rank == 0 and len(taken[0]) < 2,
                checkpoint_done=done,
                checkpoint_failed=failed,
            )

        loader = Loader(
            buffers[rank],
            terms,
            state=state,
            collective=collectives[rank],
            batches_done=100,
            samples_done=1000,
            newest_checkpoint=6,
            on_checkpoint=lambda number, down: heard[rank].append((number, down)),
        )
        with loader:
            for turn in loader:
                if turn.checkpoint is not None:
                    taken[rank].append((loader.counters().batches, turn.checkpoint))
                    done, failed = turn.checkpoint, rank == 1 and turn.checkpoint == 8
        assert loader.counters().samples == 1160
        return loader.counters().batches

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(train, range(2))) == [140, 140]
    assert taken[0] == taken[1]
    assert [number for _, number in taken[0]] == [7, 8]
    assert heard == [[(7, True), (8, False)]] * 2
