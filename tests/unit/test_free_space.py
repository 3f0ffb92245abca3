"""Free bytes can always be used, nothing overlaps, and what comes back is joined to one piece again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.buffer.free_space import UNIT, FreeSpace, whole_units

UNITS = 40


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=60))
def test_every_byte_is_either_free_or_in_one_place(moves: list[tuple[bool, int]]) -> None:
    free, taken = FreeSpace(UNITS * UNIT), []
    for gives_back, number in moves:
        if gives_back and taken:
            free.give_back(taken.pop(number % len(taken)))
        elif number * UNIT <= free.nbytes:
            stretches = free.take(number * UNIT)
            assert sum(end - start for start, end in stretches) == number * UNIT
            taken.append(stretches)
        used = [unit for stretches in [*taken, free.stretches] for a, b in stretches for unit in range(a, b, UNIT)]
        assert sorted(used) == [*range(0, UNITS * UNIT, UNIT)]
        assert free.nbytes == sum(b - a for a, b in free.stretches)
        ends = [end for _, end in free.stretches]
        assert not set(ends) & {start for start, _ in free.stretches}  # neighbours are one
    for stretches in taken:
        free.give_back(stretches)
    assert free.stretches == [(0, UNITS * UNIT)]


def test_the_smallest_piece_that_is_large_enough_is_cut() -> None:
    free = FreeSpace(10 * UNIT)
    blocks = [free.take(size * UNIT) for size in (3, 1, 2, 4)]
    free.give_back(blocks[0])
    free.give_back(blocks[2])
    assert free.take(2 * UNIT) == ((4 * UNIT, 6 * UNIT),)


def test_what_no_piece_is_large_enough_for_is_put_into_several() -> None:
    free = FreeSpace(6 * UNIT)
    blocks = [free.take(size * UNIT) for size in (2, 1, 1, 1, 1)]
    free.give_back(blocks[0])
    free.give_back(blocks[2])
    free.give_back(blocks[4])
    assert free.take(4 * UNIT) == ((0, 2 * UNIT), (5 * UNIT, 6 * UNIT), (3 * UNIT, 4 * UNIT))
    assert free.nbytes == 0


def test_a_last_unit_counts_whole() -> None:
    assert [whole_units(nbytes) for nbytes in (0, 1, UNIT, UNIT + 1)] == [0, UNIT, UNIT, 2 * UNIT]
    assert FreeSpace(0).take(0) == ()
