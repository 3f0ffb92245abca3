"""Which samples a server rank has: what a checkpoint says of them, and what that means for all ranks together.

A simulation is over when the launcher says so, to one rank a little earlier than to another; unless it was given up, it
then lacks nothing on any rank. But what one rank's cut holds, another's may not: of a simulation that this rank had
heard to be over, the other may have taken the last sample after its own cut. So a checkpoint names the steps of such a
simulation too, until it is *settled*: what a rank heard before its previous cut, every rank had before the present one,
because the training steps order the cuts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from melissa_like.assembly.progress import CompletedSteps
from melissa_like.records import Ranges, Routing, owner_of

__all__ = ["DeliveredSamples", "OverSimulations", "over_and_steps", "owned"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeliveredSamples:
    """What one rank has, or had.

    Attributes:
        stride: the steps that the rank owns of a simulation are so far apart.
        offset: of simulation 0 the first step that it owns, if they are apart; of the next one it is one less.
        hop: distance of the first steps of windows, where these are the samples; else 1. One of the two is always 1.
        over: simulations that it had heard to be over.
        settled: those of them of which no rank lacks a sample, as far as this one knows.
        lacking: simulations of which it has a sample that counts as not delivered.
        whole: [m, 2], of each simulation that is not settled how many of its steps are there before the first gap.
        ahead: [k, 2], simulation and position of each step behind that gap.
        whole_settled: [j, 3], the first and the one behind the last of some settled simulations that are `stride`
            apart, and how many steps there are of each; only where another rank may lack a sample of them.
    """

    stride: int
    offset: int
    hop: int = 1
    over: Ranges
    settled: Ranges
    lacking: Ranges
    whole: npt.NDArray[np.int64]
    ahead: npt.NDArray[np.int64]
    whole_settled: npt.NDArray[np.int64]

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """The samples of simulations that are not settled, by (first) step: simulation, first, one behind the last."""
        for simulation, count in self.whole.tolist():
            yield from self._first_steps(simulation, count)
        for simulation, position in self.ahead.tolist():
            step = self.hop * (position * self.stride + self._first_step(simulation))
            yield simulation, step, step + 1

    def steps_of_settled(self, simulations: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """The same of settled simulations, as far as that is known."""
        first, end, count = (self.whole_settled[:, column] for column in range(3))
        for simulation in simulations:
            inside = (first <= simulation) & (simulation < end) & ((simulation - first) % self.stride == 0)
            for found in count[inside].tolist():
                yield from self._first_steps(simulation, found)

    def _first_step(self, simulation: int) -> int:
        return (self.offset - simulation) % self.stride

    def _first_steps(self, simulation: int, count: int) -> Iterator[tuple[int, int, int]]:
        apart = self.stride * self.hop
        if apart == 1:
            yield simulation, 0, count
            return
        first = self.hop * self._first_step(simulation)
        for step in range(first, first + count * apart, apart):
            yield simulation, step, step + 1


class OverSimulations:
    """The simulations that are over, and the steps of those that a checkpoint must still name.

    Args:
        keeps: whether any must be: checkpoints are taken, and another rank may lack a sample, or samples that were not
            trained on are left out of them.
        keeps_settled: another rank may leave out samples of any of them, however long ago it was over.
    """

    def __init__(self, *, keeps: bool, keeps_settled: bool = False) -> None:
        self._keeps = keeps or keeps_settled
        self._keeps_settled = keeps_settled
        self._over = Ranges()
        self._at_last_cut = Ranges()
        self._steps: dict[int, CompletedSteps] = {}
        # Settled ones are many and alike: their numbers by what they have, and by their place within a stride.
        self._whole: dict[tuple[int, int], Ranges] = {}

    def __contains__(self, simulation: int) -> bool:
        return simulation in self._over

    def add(self, simulation: int, completed: CompletedSteps | None) -> None:
        """A simulation is over; of what is complete, None is nothing."""
        self._over.add(simulation)
        if self._keeps and completed is not None:
            self._steps[simulation] = completed

    def cut(
        self,
        begun: Mapping[int, CompletedSteps],
        lacking: Mapping[int, Collection[int]],
        *,
        stride: int,
        offset: int,
        hop: int = 1,
        alone: bool,
    ) -> DeliveredSamples:
        """What is there now; the steps of what has become settled are forgotten, or kept in short.

        Args:
            begun: what is complete of the simulations that are not over.
            lacking: steps that count as not delivered, by simulation.
            stride: as in `DeliveredSamples`.
            offset: the same.
            hop: the same.
            alone: there is no other rank.
        """
        lacks = Ranges((simulation, simulation + 1) for simulation in lacking)
        settled = (self._over if alone else self._at_last_cut).copy()
        for simulation in lacks:
            settled.discard(simulation)
        for simulation in [simulation for simulation in self._steps if simulation in settled]:
            self._settle(simulation, self._steps.pop(simulation), stride)
        named = {**begun, **self._steps}
        for simulation, steps in lacking.items():
            if simulation in named:
                named[simulation] = without = named[simulation].copy()
                for step in steps:
                    without.discard(step)
        self._at_last_cut = self._over.copy()
        return DeliveredSamples(
            stride=stride,
            offset=offset,
            hop=hop,
            over=self._over.copy(),
            settled=settled,
            lacking=lacks,
            whole=_table(((s, done.first_missing) for s, done in named.items() if done.first_missing), 2),
            ahead=_table(((s, position) for s, done in named.items() for position in done.ahead), 2),
            whole_settled=_table(self._in_short(stride), 3),
        )

    def restore(self, over: Ranges) -> None:
        """Begin with simulations of which no rank lacks a sample."""
        self._over, self._at_last_cut = over.copy(), over.copy()

    def _settle(self, simulation: int, completed: CompletedSteps, stride: int) -> None:
        if self._keeps_settled:
            place = completed.first_missing, simulation % stride
            self._whole.setdefault(place, Ranges()).add(simulation // stride)

    def _in_short(self, stride: int) -> Iterator[tuple[int, int, int]]:
        for (count, residue), numbers in self._whole.items():
            for start, end in numbers.ranges:
                yield start * stride + residue, (end - 1) * stride + residue + 1, count


def over_and_steps(ranks: Sequence[DeliveredSamples]) -> tuple[Ranges, dict[int, Ranges]]:
    """What all ranks together have, from what each one's part of the same checkpoint says.

    Args:
        ranks: by rank.

    Returns:
        The simulations of which no rank lacks a sample, and the steps of all others, these in order.
    """
    over = Ranges(one for rank in ranks for one in rank.settled.ranges)
    everywhere: Sequence[tuple[int, int]] = ranks[0].over.ranges
    for rank in ranks[1:]:
        everywhere = [*_intersection(everywhere, rank.over.ranges)]
    for start, end in everywhere:
        over.add_range(start, end)
    lacking = Ranges(one for rank in ranks for one in rank.lacking.ranges)
    for simulation in lacking:
        over.discard(simulation)
    steps: dict[int, Ranges] = {}
    for rank in ranks:
        for some in (rank.steps(), rank.steps_of_settled(lacking)):
            for simulation, first, end in some:
                if simulation not in over:
                    steps.setdefault(simulation, Ranges()).add_range(first, end)
    return over, dict(sorted(steps.items()))


def owned(steps: Mapping[int, Ranges], rank: int, num_ranks: int, routing: Routing) -> dict[int, Ranges]:
    """The part of some steps, by simulation, that a server rank among so many owns."""
    if num_ranks == 1:
        return dict(steps)
    mine = {
        simulation: Ranges((step, step + 1) for step in some if owner_of(simulation, step, num_ranks, routing) == rank)
        for simulation, some in steps.items()
    }
    return {simulation: some for simulation, some in mine.items() if len(some)}


def _intersection(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of two lists of ranges in order."""
    one = other = 0
    while one < len(some) and other < len(others):
        start, end = max(some[one][0], others[other][0]), min(some[one][1], others[other][1])
        if start < end:
            yield start, end
        if some[one][1] <= others[other][1]:
            one += 1
        else:
            other += 1


def _table(rows: Iterable[tuple[int, ...]], num_columns: int) -> npt.NDArray[np.int64]:
    return np.array([*rows], np.int64).reshape(-1, num_columns)
