"""The agreement of server ranks: the table of rules, and simulated ranks with uneven streams."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.loading import AgreementTerms, Plan, RankState, Verdict, plan

TERMS = AgreementTerms(batch_size=10, expected_samples=1000)


def _sizes(agreed: Plan) -> list[tuple[int, ...]]:
    return [step.sizes for step in agreed.steps]


def _over(held: int) -> RankState:
    return RankState(available=held, held=held, reception_over=True)


@pytest.mark.parametrize(
    ("ranks", "sizes", "gate_lifted"),
    [
        pytest.param([RankState(available=35, held=50)], [(10,)] * 3, False, id="one rank: full batches only"),
        pytest.param([RankState(available=999, held=999)], [(10,)] * 16, False, id="at most steps_per_agreement"),
        pytest.param(
            [RankState(available=35, held=35), RankState(available=20, held=20)], [(10, 10)] * 2, False, id="the least"
        ),
        pytest.param([RankState(available=9, held=9)], [], False, id="less than a batch: wait"),
        pytest.param([RankState(available=0, held=80)], [], False, id="below the watermark: wait"),
        pytest.param(
            [RankState(available=50, held=50), RankState(held=3)], [], False, id="one rank without a batch: all wait"
        ),
        pytest.param([_over(25)], [(10,)] * 2, False, id="full batches before the rest"),
        pytest.param([_over(5)], [(5,)], True, id="drain the rest"),
        pytest.param([_over(25), _over(40)], [(10, 10)] * 2, False, id="full batches while all have them"),
        pytest.param([_over(5), _over(25)], [(5, 10), (0, 10), (0, 5)], True, id="drain unevenly"),
        pytest.param([_over(0), _over(1)], [(0, 1)], True, id="drain one"),
        pytest.param([_over(0), RankState(available=50, held=50)], [], False, id="another rank still receives: wait"),
        pytest.param(
            [_over(0), RankState(available=30, held=30, put_waits=True)],
            [(0, 10)] * 3,
            True,
            id="a full rank opens every gate",
        ),
        pytest.param(
            [RankState(available=0, held=4), RankState(available=0, held=25, put_waits=True)],
            [(4, 10), (0, 10)],
            True,
            id="a full rank is relieved below the watermark",
        ),
        pytest.param([RankState(held=4, put_waits=True)], [(4,)], True, id="relief with less than a batch"),
        pytest.param([RankState(put_waits=True)], [], False, id="full of provisional draws: wait for the trainer"),
    ],
)
def test_rules_decide_how_many_samples_each_rank_draws(
    ranks: list[RankState], sizes: list[tuple[int, ...]], gate_lifted: bool
) -> None:
    agreed = plan(ranks, TERMS, batches_done=0)
    assert (_sizes(agreed), agreed.gate_lifted, agreed.verdict) == (sizes, gate_lifted, Verdict.CONTINUE)


def test_a_failure_outranks_a_stop_and_names_the_rank() -> None:
    ranks = [RankState(available=50, stop_requested=True), RankState(available=50, failed=True)]
    agreed = plan(ranks, TERMS, batches_done=0)
    assert (agreed.verdict, agreed.failed_rank, agreed.steps) == (Verdict.FAILED, 1, ())


def test_a_stop_of_one_rank_stops_all() -> None:
    agreed = plan([RankState(available=50), RankState(available=50, stop_requested=True)], TERMS, batches_done=0)
    assert (agreed.verdict, agreed.steps) == (Verdict.STOPPED, ())


def test_finished_when_every_reception_is_over_and_nothing_is_held() -> None:
    assert plan([_over(0), _over(0)], TERMS, batches_done=7).verdict is Verdict.FINISHED


BLIND = RankState(available=50, held=50, time_known=False)


@pytest.mark.parametrize(
    ("ranks", "verdict", "num_steps", "time_range"),
    [
        ([BLIND], Verdict.CONTINUE, 0, None),
        ([replace(BLIND, put_waits=True)], Verdict.BLIND, 0, None),
        ([BLIND, RankState(available=50, held=50, put_waits=True)], Verdict.BLIND, 0, None),
        ([replace(BLIND, stop_requested=True, put_waits=True)], Verdict.STOPPED, 0, None),
        ([RankState(reception_over=True, time_known=False)], Verdict.FINISHED, 0, None),
        ([RankState(available=50, held=50)], Verdict.CONTINUE, 5, None),
        (
            [
                RankState(available=20, held=20, first_step=0, last_step=9),
                RankState(available=20, held=20, first_step=1e6, last_step=1e7),
            ],
            Verdict.CONTINUE,
            2,
            (0, 1e7),
        ),
    ],
)
def test_nothing_is_trained_before_every_rank_knows_what_the_time_is_scaled_from(
    ranks: list[RankState], verdict: Verdict, num_steps: int, time_range: tuple[float, float] | None
) -> None:
    agreed = plan(ranks, TERMS, batches_done=0)
    assert (agreed.verdict, len(agreed.steps), agreed.time_range) == (verdict, num_steps, time_range)


def test_max_batches_cuts_the_plan_and_then_finishes() -> None:
    terms = AgreementTerms(batch_size=10, expected_samples=1000, max_batches=12)
    assert len(plan([RankState(available=90)], terms, batches_done=10).steps) == 2
    assert plan([RankState(available=90)], terms, batches_done=12).verdict is Verdict.FINISHED


def test_validation_is_flagged_at_agreed_counts_when_all_ranks_are_ready() -> None:
    terms = AgreementTerms(batch_size=1, expected_samples=1000, validation_interval=4)
    ready, late = RankState(available=6, validation_ready=True), RankState(available=6)
    flags = [step.validate for step in plan([ready, ready], terms, batches_done=5).steps]
    assert flags == [False, False, True, False, False, False]
    assert not any(step.validate for step in plan([ready, late], terms, batches_done=5).steps)


def test_progress_is_the_share_delivered_over_all_ranks_at_most_one() -> None:
    assert plan([RankState(delivered=100), RankState(delivered=150)], TERMS, batches_done=0).progress == 0.25
    assert plan([RankState(delivered=2000)], TERMS, batches_done=0).progress == 1.0


def test_the_number_of_samples_counts_all_ranks() -> None:
    assert [step.num_samples for step in plan([_over(5), _over(25)], TERMS, batches_done=0).steps] == [15, 10, 5]


FULL = RankState(available=50, held=50, checkpoint_done=3)


@pytest.mark.parametrize(
    ("ranks", "newest", "down", "checkpoint"),
    [
        ([FULL, FULL], 3, True, None),
        ([FULL, replace(FULL, checkpoint_due=True)], 3, True, 4),
        ([FULL, replace(FULL, checkpoint_due=True)], 4, None, None),  # the last one is still being written
        ([replace(FULL, checkpoint_done=4), replace(FULL, checkpoint_due=True)], 4, None, None),
        ([replace(FULL, checkpoint_failed=True), replace(FULL, checkpoint_due=True)], 3, False, 4),
        ([replace(FULL, available=0, checkpoint_due=True)], 3, True, None),  # nothing is trained
    ],
)
def test_a_checkpoint_is_taken_at_one_step_when_it_is_time_for_any_rank_and_the_last_one_is_written(
    ranks: list[RankState], newest: int, down: bool | None, checkpoint: int | None
) -> None:
    agreed = plan(ranks, TERMS, batches_done=0, newest_checkpoint=newest)
    assert agreed.checkpoint_down is down
    assert [step.checkpoint for step in agreed.steps[:-1]] == [None] * max(0, len(agreed.steps) - 1)
    assert [step.checkpoint for step in agreed.steps[-1:]] == [checkpoint] * bool(agreed.steps)


@given(
    st.builds(
        RankState,
        available=st.integers(0, 2**53),
        held=st.integers(0, 2**53),
        put_waits=st.booleans(),
        checkpoint_due=st.booleans(),
        checkpoint_done=st.integers(0, 2**53),
        checkpoint_failed=st.booleans(),
    )
)
def test_a_state_survives_its_encoding(state: RankState) -> None:
    padded = np.concatenate([state.encode(), np.zeros(5)])
    assert RankState.decode(padded) == state
    assert len(state.encode()) == RankState.WIDTH


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"expected_samples": 0}, {"validation_interval": -1}])
def test_numbers_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AgreementTerms(**{"batch_size": 1, "expected_samples": 1, **wrong})


@dataclass
class FifoRank:
    """A rank that holds samples until they are drawn: the strictest buffer, for the agreement alone."""

    to_come: int
    capacity: int
    watermark: int
    announced_late: int
    held: int = 0
    trained: int = 0
    sizes: list[int] = field(default_factory=list)

    def receive(self, most: int) -> None:
        arriving = min(most, self.to_come, self.capacity - self.held)
        self.held += arriving
        self.to_come -= arriving
        if self.to_come == 0:
            self.announced_late = max(0, self.announced_late - 1)

    def state(self) -> RankState:
        over = self.to_come == 0 and self.announced_late == 0
        gated = self.held if over or self.held >= self.watermark else 0
        waits = self.to_come > 0 and self.held == self.capacity
        return RankState(available=gated, held=self.held, put_waits=waits, reception_over=over)

    def step(self, size: int) -> None:
        assert size <= self.held, "the plan draws what the rank does not hold"
        self.held -= size
        self.trained += size
        self.sizes.append(size)


@st.composite
def _ranks(draw: st.DrawFn) -> list[FifoRank]:
    ranks = []
    for _ in range(draw(st.integers(1, 4))):
        capacity = draw(st.integers(1, 40))
        ranks.append(
            FifoRank(
                to_come=draw(st.integers(0, 200)),
                capacity=capacity,
                watermark=draw(st.integers(0, capacity)),
                announced_late=draw(st.integers(0, 5)),
            )
        )
    return ranks


@settings(deadline=None, max_examples=200)
@given(ranks=_ranks(), batch_size=st.integers(1, 12), most=st.integers(1, 5), data=st.data())
def test_uneven_streams_always_end_with_every_sample_trained_on_once(
    ranks: list[FifoRank], batch_size: int, most: int, data: st.DataObject
) -> None:
    streams = [rank.to_come for rank in ranks]
    terms = AgreementTerms(batch_size=batch_size, expected_samples=max(1, sum(streams)), steps_per_agreement=most)
    paces = data.draw(st.lists(st.integers(0, 60), min_size=len(ranks), max_size=len(ranks)))
    batches_done = 0
    # Even at the slowest pace each round brings a sample or a step, so that this many rounds mean a dead-lock.
    for _ in range(2 * sum(streams) + 20):
        for rank, pace in zip(ranks, paces, strict=True):
            rank.receive(1 + pace)
        agreed = plan([rank.state() for rank in ranks], terms, batches_done=batches_done)
        for step in agreed.steps:
            assert step.num_samples > 0, "a step without a sample on any rank"
            for rank, size in zip(ranks, step.sizes, strict=True):
                rank.step(size)
        batches_done += len(agreed.steps)
        if agreed.verdict is Verdict.FINISHED:
            break
    assert [rank.trained for rank in ranks] == streams
    assert {len(rank.sizes) for rank in ranks} == {batches_done}
    assert all(size <= batch_size for rank in ranks for size in rank.sizes)
