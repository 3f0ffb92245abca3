"""The buffers of a checkpoint, shared out to another number of server ranks, or to buffers of another size. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from melissa_like.buffer.loads import NUM_COLUMNS, fitting, shared_out
from melissa_like.buffer.slots import SlotArray
from melissa_like.buffer.state import BufferState

__all__ = ["Share", "deal"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """What a rank gets.

    Attributes:
        state: of its buffer.
        rows: of each buffer of the checkpoint, by rank, the positions of the samples that it gets, ascending.
    """

    state: BufferState
    rows: tuple[SlotArray, ...]


def deal(
    states: Sequence[BufferState],
    *,
    rank: int,
    num_ranks: int,
    capacity: int,
    capacity_nbytes: int | None = None,
    views_per_sample: int | None = None,
) -> Share:
    """One rank's share; those of all ranks together are all samples, and the sums of the counters are kept.

    Samples that were seen give way where there is no room for all.

    Args:
        states: of the checkpoint, by rank.
        rank: that gets its share, among `num_ranks`.
        num_ranks: that there are now.
        capacity: of each of their buffers, in samples.
        capacity_nbytes: of each of them, in bytes, where the sizes of samples differ; None: they do not.
        views_per_sample: draws that each sample stands for, if that is fixed.

    Raises:
        ValueError: the samples that were not seen do not fit.
    """
    seen = np.concatenate([state.seen for state in states])
    chosen = _chosen(seen, num_ranks * capacity)
    if capacity_nbytes is None:
        bounds = [len(chosen) * number // num_ranks for number in range(num_ranks + 1)]
        shares = [chosen[first:end] for first, end in pairwise(bounds)]
    else:
        loads = _loads(states)
        alike = [chosen[some] for some in shared_out(loads[chosen], num_ranks, capacity)]
        shares = [some[fitting(loads[some], seen[some], capacity_nbytes)] for some in alike]
    given_way = len(seen) - sum(map(len, shares))
    evicted = _split(sum(state.evicted for state in states) + given_way, num_ranks)
    removed = _split(sum(state.removed for state in states), num_ranks)
    puts = [len(share) + gone + taken for share, gone, taken in zip(shares, evicted, removed, strict=True)]
    draws = _split(total_draws := sum(state.draws for state in states), num_ranks)
    if views_per_sample is not None:
        num_undrawn = [int((~seen[share]).sum()) for share in shares]
        draws = _draws_with_views(puts, total_draws, [len(share) for share in shares], num_undrawn, views_per_sample)
    mine = shares[rank]
    rows, first = [], 0
    for state in states:
        rows.append(mine[(mine >= first) & (mine < first + state.size)] - first)
        first += state.size
    return Share(
        state=BufferState(
            keys=np.concatenate([state.keys for state in states])[mine],
            seen=seen[mine],
            num_draws=np.concatenate([state.num_draws for state in states])[mine],
            puts=puts[rank],
            draws=draws[rank],
            evicted=evicted[rank],
            removed=removed[rank],
            loads=None if capacity_nbytes is None else _loads(states)[mine],
            rng=states[rank].rng if rank < len(states) else None,
        ),
        rows=tuple(rows),
    )


def _loads(states: Sequence[BufferState]) -> SlotArray:
    return np.concatenate([np.empty((0, NUM_COLUMNS), np.int64) if s.loads is None else s.loads for s in states])


def _chosen(seen: np.ndarray, room: int) -> SlotArray:
    """Which samples are kept, in order: the last ones of those that were seen give way."""
    excess = len(seen) - room
    if excess <= 0:
        return np.arange(len(seen))
    num_unseen = int((~seen).sum())
    if num_unseen > room:
        raise ValueError(
            f"the checkpoint holds {num_unseen} samples that were not trained on yet but the buffers have room for "
            f"{room}: raise buffer.capacity to {num_unseen} or more"
        )
    return np.delete(np.arange(len(seen)), np.flatnonzero(seen)[-excess:])


def _split(total: int, num: int) -> list[int]:
    return [total * (number + 1) // num - total * number // num for number in range(num)]


def _draws_with_views(
    puts: Sequence[int], total_draws: int, sizes: Sequence[int], num_undrawn: Sequence[int], views: int
) -> list[int]:
    """Draws of each rank: what is owed goes to where samples can repay it, a draw for each that had none at least."""
    owed = views * sum(puts) - total_draws - sum(num_undrawn)
    room = [views * size - undrawn for size, undrawn in zip(sizes, num_undrawn, strict=True)]
    ends = np.cumsum([0, *room])
    share = [owed * int(end) // max(1, int(ends[-1])) for end in ends]
    more = [after - before for before, after in pairwise(share)]
    return [views * puts[i] - num_undrawn[i] - more[i] for i in range(len(puts))]
