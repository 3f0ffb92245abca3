"""What the server ranks have at a cut: never more than is there, and nothing that is there is forgotten."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.assembly import OverSimulations, over_and_steps, owned
from melissa_like.assembly.delivered import DeliveredSamples
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.records import Ranges, Routing, owner_of

NUM_SIMULATIONS, NUM_STEPS = 6, 5
SAMPLES = [(simulation, step) for simulation in range(NUM_SIMULATIONS) for step in range(NUM_STEPS)]


class Rank:
    """One server rank: takes samples, hears what is over, takes its part of a cut."""

    def __init__(self, rank: int, num_ranks: int, routing: Routing, *, leaves_out: bool) -> None:
        self.rank, self.num_ranks, self.routing = rank, num_ranks, routing
        self.stride = num_ranks if routing is Routing.SAMPLE else 1
        self.over = OverSimulations(keeps=num_ranks > 1 or leaves_out, keeps_settled=num_ranks > 1 and leaves_out)
        self.begun: dict[int, CompletedSteps] = {}
        self.has: set[tuple[int, int]] = set()
        self.unseen: set[tuple[int, int]] = set()
        self.leaves_out = leaves_out

    def take(self, simulation: int, step: int) -> None:
        self.begun.setdefault(simulation, CompletedSteps(self.stride)).add(step)
        self.has.add((simulation, step))
        self.unseen.add((simulation, step))

    def hear(self, simulation: int) -> None:
        self.over.add(simulation, self.begun.pop(simulation, None))

    def cut(self) -> tuple[DeliveredSamples, set[tuple[int, int]]]:
        """What it says of itself, and what it has by that."""
        lacking: dict[int, set[int]] = {}
        for simulation, step in self.unseen if self.leaves_out else ():
            lacking.setdefault(simulation, set()).add(step)
        said = self.over.cut(self.begun, lacking, stride=self.stride, offset=self.rank, alone=self.num_ranks == 1)
        return said, self.has - (self.unseen if self.leaves_out else set())


class Study:
    """Ranks that cut in any order, but none for the next time before all have for this time."""

    def __init__(self, num_ranks: int, routing: Routing, *, leaves_out: bool) -> None:
        self.ranks = [Rank(rank, num_ranks, routing, leaves_out=leaves_out) for rank in range(num_ranks)]
        self.routing = routing
        self.delivered: set[tuple[int, int]] = set()
        self.told: list[set[int]] = [set() for _ in self.ranks]

    def deliver(self, sample: tuple[int, int]) -> None:
        if sample not in self.delivered:
            self.delivered.add(sample)
            self.ranks[owner_of(*sample, len(self.ranks), self.routing)].take(*sample)

    def tell(self, rank: int, simulation: int) -> None:
        if simulation not in self.told[rank] and {(simulation, n) for n in range(NUM_STEPS)} <= self.delivered:
            self.told[rank].add(simulation)
            self.ranks[rank].hear(simulation)

    def see(self, sample: tuple[int, int]) -> None:
        for rank in self.ranks:
            rank.unseen.discard(sample)


def check(study: Study, draw: Callable[[], int], num_rounds: int) -> None:
    for _ in range(num_rounds):
        parts: dict[int, tuple[DeliveredSamples, set[tuple[int, int]]]] = {}
        for _ in range(30):
            sample, rank = SAMPLES[draw() % len(SAMPLES)], draw() % len(study.ranks)
            match draw() % 5:
                case 0 | 1:
                    study.deliver(sample)
                    for step in range(draw() % NUM_STEPS):
                        study.deliver((sample[0], step))
                case 2:
                    study.tell(rank, sample[0])
                case 3:
                    study.see(sample)
                case 4 if rank not in parts:
                    parts[rank] = study.ranks[rank].cut()
        for number, one in enumerate(study.ranks):
            if number not in parts:
                parts[number] = one.cut()
        over, steps = over_and_steps([parts[number][0] for number in range(len(study.ranks))])
        has = set().union(*(samples for _, samples in parts.values()))
        for simulation in range(NUM_SIMULATIONS):
            there = {step for number, step in has if number == simulation}
            if simulation in over:
                assert there == set(range(NUM_STEPS))
            else:
                assert set(steps.get(simulation, ())) == there


@pytest.mark.parametrize("leaves_out", [False, True])
@pytest.mark.parametrize("routing", list(Routing))
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@settings(max_examples=60, deadline=None)
@given(choices=st.lists(st.integers(0, 10**6), min_size=700, max_size=700))
def test_a_cut_says_what_is_there(num_ranks: int, routing: Routing, leaves_out: bool, choices: list[int]) -> None:
    given_choices = iter(choices)
    check(Study(num_ranks, routing, leaves_out=leaves_out), lambda: next(given_choices, 0), 5)


def cut(over: OverSimulations, rank: int, begun: dict[int, CompletedSteps] | None = None) -> DeliveredSamples:
    return over.cut(begun or {}, {}, stride=2, offset=rank, alone=False)


def complete(*positions: int) -> CompletedSteps:
    steps = CompletedSteps(2)
    for position in positions:
        steps.add(2 * position)
    return steps


def test_what_one_rank_heard_to_be_over_counts_as_over_when_both_heard_it_or_a_cut_lies_between() -> None:
    ranks = [OverSimulations(keeps=True), OverSimulations(keeps=True)]
    ranks[0].add(3, complete(0, 1))
    over, steps = over_and_steps([cut(ranks[0], 0), cut(ranks[1], 1, {3: complete(0)})])
    assert (over, steps) == (Ranges(), {3: Ranges([(0, 2), (3, 4)])})  # 1 and 3 of rank 0, 0 of rank 1
    over, steps = over_and_steps([cut(ranks[0], 0), cut(ranks[1], 1, {3: complete(0, 1)})])
    assert (over, steps) == (Ranges([(3, 4)]), {})
    ranks[1].add(3, complete(0, 1))
    ranks[0].add(4, complete(0))
    ranks[1].add(4, complete(0))
    assert over_and_steps([cut(ranks[0], 0), cut(ranks[1], 1)])[0] == Ranges([(3, 5)])


def test_many_settled_simulations_are_kept_in_short() -> None:
    over = OverSimulations(keeps=True, keeps_settled=True)
    for simulation in range(1000):
        over.add(simulation, complete(0, 1, 2) if simulation % 2 else complete(0, 1))
    cut(over, 0)
    said = cut(over, 0)
    assert said.whole_settled.tolist() == [[0, 999, 2], [1, 1000, 3]]
    assert [*said.steps_of_settled([8, 9])] == [(8, 0, 1), (8, 2, 3), (9, 1, 2), (9, 3, 4), (9, 5, 6)]
    assert len(said.whole) == 0


def test_steps_are_shared_out_to_another_number_of_ranks() -> None:
    steps = {3: Ranges([(0, 5)]), 4: Ranges([(1, 2)])}
    assert owned(steps, 0, 1, Routing.SAMPLE) == steps
    assert owned(steps, 0, 2, Routing.SAMPLE) == {3: Ranges([(1, 2), (3, 4)])}
    assert owned(steps, 1, 2, Routing.SAMPLE) == {3: Ranges([(0, 1), (2, 3), (4, 5)]), 4: Ranges([(1, 2)])}
    assert owned(steps, 1, 2, Routing.TRAJECTORY) == {3: Ranges([(0, 5)])}


def test_a_restored_rank_begins_with_what_was_over() -> None:
    over = OverSimulations(keeps=True)
    over.restore(Ranges([(0, 7)]))
    assert 6 in over
    assert 7 not in over
    said = cut(over, 1)
    assert said.settled == Ranges([(0, 7)])
    assert np.array_equal(said.whole, np.empty((0, 2)))


def test_what_is_not_over_is_told_in_the_order_of_the_simulations() -> None:
    """The launcher looks at the order, for numbers that come twice."""
    rank = Rank(0, 1, Routing.SAMPLE, leaves_out=True)
    for simulation in (3, 1, 2):
        rank.take(simulation, 0)
        rank.take(simulation, 1)
    for simulation in (2, 1):
        rank.hear(simulation)
    rank.unseen = {(2, 1), (1, 0)}
    over, steps = over_and_steps([rank.cut()[0]])
    assert not len(over)
    assert list(steps) == [1, 2, 3]
