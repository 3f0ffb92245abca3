"""A checkpoint of some buffers is shared out to others: every sample once, and counters keep their sums."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.buffer import BufferState
from melissa_like.buffer.dealing import Share, deal


def state(first: int, seen: list[bool], *, gone: int = 0, draws: int = 0) -> BufferState:
    numbers = np.arange(first, first + len(seen))
    return BufferState(
        keys=np.stack([numbers, 2 * numbers], axis=1),
        seen=np.array(seen, np.bool_),
        num_draws=numbers % 3,
        puts=len(seen) + gone,
        draws=draws,
        evicted=gone - gone // 2,
        removed=gone // 2,
        rng={"state": first},
    )


def shares(states: list[BufferState], num_ranks: int, *, capacity: int = 100, views: int | None = None) -> list[Share]:
    return [
        deal(states, rank=rank, num_ranks=num_ranks, capacity=capacity, views_per_sample=views)
        for rank in range(num_ranks)
    ]


@given(
    sizes=st.lists(st.lists(st.booleans(), max_size=20), min_size=1, max_size=4),
    num_ranks=st.integers(1, 4),
    gone=st.integers(0, 9),
)
def test_every_sample_goes_to_one_rank_and_sums_are_kept(sizes: list[list[bool]], num_ranks: int, gone: int) -> None:
    states = [state(100 * number, seen, gone=gone, draws=7) for number, seen in enumerate(sizes)]
    dealt = shares(states, num_ranks)
    keys = [key for share in dealt for key in share.state.keys[:, 0].tolist()]
    assert keys == [key for one in states for key in one.keys[:, 0].tolist()]
    for share in dealt:
        positions = [(number, int(row)) for number, rows in enumerate(share.rows) for row in rows]
        assert [states[number].keys[row, 0] for number, row in positions] == share.state.keys[:, 0].tolist()
        assert [states[number].seen[row] for number, row in positions] == share.state.seen.tolist()
        assert share.state.puts == share.state.size + share.state.evicted + share.state.removed
    for name in ("puts", "draws", "evicted", "removed"):
        assert sum(getattr(share.state, name) for share in dealt) == sum(getattr(one, name) for one in states)
    assert dealt[0].state.rng == states[0].rng


@given(
    seen=st.lists(st.booleans(), min_size=1, max_size=30),
    num_ranks=st.integers(1, 4),
    views=st.integers(1, 4),
    data=st.data(),
)
def test_with_fixed_views_each_rank_owes_what_its_samples_can_repay(
    seen: list[bool], num_ranks: int, views: int, data: st.DataObject
) -> None:
    num_unseen = seen.count(False)
    owed = data.draw(st.integers(num_unseen, views * len(seen)))
    one = state(0, seen, gone=5, draws=views * (len(seen) + 5) - owed)
    dealt = shares([one], num_ranks, views=views)
    debts = [views * share.state.puts - share.state.draws for share in dealt]
    assert sum(debts) == owed
    for debt, share in zip(debts, dealt, strict=True):
        assert int((~share.state.seen).sum()) <= debt <= views * share.state.size
        assert share.state.draws >= 0


def test_what_was_seen_gives_way_where_there_is_no_room() -> None:
    states = [state(0, [True, False, True]), state(10, [False, True])]
    dealt = shares(states, 1, capacity=3)
    assert dealt[0].state.keys[:, 0].tolist() == [0, 1, 10]
    assert (dealt[0].state.puts, dealt[0].state.evicted) == (5, 2)
    assert [rows.tolist() for rows in dealt[0].rows] == [[0, 1], [0]]
    with pytest.raises(ValueError, match=r"holds 2 samples that were not trained on yet .* raise buffer.capacity to 2"):
        shares(states, 1, capacity=1)


def on_meshes(seen: list[bool], meshes: list[int], *, nbytes: int = 256, static_nbytes: int = 1024) -> BufferState:
    """Samples on meshes with these numbers."""
    digests = np.stack([np.zeros(len(meshes), np.int64), np.array(meshes, np.int64)], axis=1)
    rest = np.broadcast_to(np.array([nbytes, static_nbytes], np.int64), (len(meshes), 2))
    return replace(state(0, seen), loads=np.concatenate([digests, rest], axis=1))


@given(
    some=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40),
    num_ranks=st.integers(1, 4),
    capacity=st.integers(1, 20) | st.just(100),
    capacity_nbytes=st.integers(0, 60) | st.just(10**6),
)
def test_samples_of_any_size_go_to_one_rank_each_within_its_room(
    some: list[tuple[bool, int]], num_ranks: int, capacity: int, capacity_nbytes: int
) -> None:
    capacity_nbytes *= 256
    one = on_meshes([seen for seen, _ in some], [mesh for _, mesh in some])
    deals = [
        lambda rank=rank: deal(
            [one], rank=rank, num_ranks=num_ranks, capacity=capacity, capacity_nbytes=capacity_nbytes
        )
        for rank in range(num_ranks)
    ]
    try:
        dealt = [deal_one() for deal_one in deals]
    except ValueError:
        assert not all(one.seen)
        return
    keys = [key for share in dealt for key in share.state.keys[:, 0].tolist()]
    assert len(set(keys)) == len(keys)
    assert set(one.unseen_keys[:, 0].tolist()) <= set(keys) <= set(one.keys[:, 0].tolist())
    assert all(share.state.nbytes <= capacity_nbytes and share.state.size <= capacity for share in dealt)
    assert sum(share.state.evicted for share in dealt) == one.size - len(keys)
    if capacity_nbytes >= 10**6 and capacity * num_ranks >= one.size:
        assert len(keys) == one.size
        # Static fields are held twice only where two ranks meet.
        assert sum(share.state.nbytes for share in dealt) <= one.nbytes + (num_ranks - 1) * 1024


def test_samples_on_one_mesh_stay_together() -> None:
    one = on_meshes([False] * 6, [1, 2, 1, 2, 1, 2])
    first, second = (deal([one], rank=rank, num_ranks=2, capacity=9, capacity_nbytes=10**6) for rank in range(2))
    assert [first.rows[0].tolist(), second.rows[0].tolist()] == [[0, 2, 4], [1, 3, 5]]


def test_samples_that_were_not_seen_must_fit_into_the_bytes() -> None:
    one = on_meshes([False, True, False], [1, 1, 1])
    kept = deal([one], rank=0, num_ranks=1, capacity=9, capacity_nbytes=1024 + 512)
    assert kept.rows[0].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"take 1536 bytes, but its buffer has 1400: raise buffer\.capacity to 1536"):
        deal([one], rank=0, num_ranks=1, capacity=9, capacity_nbytes=1400)


def test_many_small_samples_are_no_more_for_a_rank_than_it_has_room_for() -> None:
    small, large = on_meshes([False] * 6, [1] * 6), on_meshes([False] * 2, [2, 3], nbytes=2560)
    states = [small, replace(large, keys=large.keys + 100)]
    dealt = [deal(states, rank=rank, num_ranks=2, capacity=5, capacity_nbytes=10**6) for rank in range(2)]
    assert [[rows.tolist() for rows in share.rows] for share in dealt] == [[[0, 1, 2, 3, 4], []], [[5], [0, 1]]]
