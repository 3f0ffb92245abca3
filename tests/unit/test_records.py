"""Ranges against Python's sets, addresses there and back, windows and the steps that they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.records import (
    ClientRank,
    FieldSpec,
    Layout,
    Ranges,
    ServerRank,
    Window,
    missing_steps,
    num_samples,
    num_steps_in_no_window,
    parse_address,
    steps_not_needed,
)

PIECES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=30)


@given(PIECES)
def test_ranges_are_a_set(pieces: list[tuple[int, int]]) -> None:
    ranges, expected = Ranges(), set[int]()
    for start, length in pieces:
        before = len(expected)
        expected |= set(range(start, start + length))
        assert ranges.add_range(start, start + length) == len(expected) - before
    assert list(ranges) == sorted(expected)
    assert len(ranges) == len(expected)
    assert all((number in ranges) == (number in expected) for number in range(-1, 72))
    assert all(end < start for (_, end), (start, _) in zip(ranges.ranges, ranges.ranges[1:], strict=False))
    assert Ranges(ranges.ranges) == ranges


@given(PIECES, st.lists(st.integers(-1, 71)))
def test_ranges_without_some_of_their_members(pieces: list[tuple[int, int]], left_out: list[int]) -> None:
    ranges = Ranges((start, start + length) for start, length in pieces)
    expected = set(ranges)
    for number in left_out:
        ranges.discard(number)
        expected.discard(number)
        assert list(ranges) == sorted(expected)
        assert len(ranges) == len(expected)
        assert Ranges(ranges.ranges) == ranges


def test_a_copy_of_ranges_is_a_set_of_its_own() -> None:
    ranges = Ranges([(0, 3)])
    ranges.copy().add(7)
    assert 7 not in ranges


@pytest.mark.parametrize("address", [ServerRank(0), ServerRank(12, 3), ClientRank("job-0001", 31)])
def test_an_address_is_read_back_from_its_text(address: ServerRank | ClientRank) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "server-", "server-01", "job-0001", "job/", "/0", "a/b/0"])
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("num_steps", "window", "expected"),
    [
        (10, None, 10),
        (10, Window(length=2), 9),
        (10, Window(length=2, stride=5), 5),
        (10, Window(length=4, hop=4), 2),
        (3, Window(length=4), 0),
        (0, Window(length=1), 0),
    ],
)
def test_samples_of_a_simulation(num_steps: int, window: Window | None, expected: int) -> None:
    assert num_samples(num_steps, window) == expected


@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.sets(st.integers(0, 30)))
def test_what_is_missing_is_what_the_missing_windows_need(
    num_steps: int, length: int, stride: int, hop: int, there: set[int]
) -> None:
    window = Window(length=length, stride=stride, hop=hop)
    firsts = [first for first in range(0, num_steps, hop) if first + (length - 1) * stride < num_steps]
    assert len(firsts) == num_samples(num_steps, window)
    needed = {first + i * stride for first in firsts if first not in there for i in range(length)}
    delivered = Ranges((first, first + 1) for first in there)
    assert set(missing_steps(num_steps, delivered, window)) == needed
    assert set(steps_not_needed(num_steps, delivered, window)) == set(range(num_steps)) - needed
    held = {step for first in firsts for step in window.steps_from(first)}
    assert num_steps_in_no_window(num_steps, window) == num_steps - len(held)
    assert set(steps_not_needed(num_steps, Ranges(), window)) == set(range(num_steps)) - held


def test_of_a_simulation_of_unknown_length_a_window_may_need_any_step() -> None:
    assert not len(steps_not_needed(None, Ranges([(0, 3)]), Window(length=2)))
    assert steps_not_needed(None, Ranges([(0, 3)]), None) == Ranges([(0, 3)])


def test_without_a_window_what_is_missing_are_the_steps_not_delivered() -> None:
    assert missing_steps(6, Ranges([(0, 2), (4, 5)]), None).ranges == ((2, 4), (5, 6))


def test_a_vector_field_has_its_components_first() -> None:
    field = FieldSpec(name="velocity", shape=(2, 8, 4), components=2)
    assert field.grid == (8, 4)
    assert field.row_axis == 1
    assert FieldSpec(name="pressure", shape=(8, 4)).grid == (8, 4)
    flat = FieldSpec(name="velocity", shape=(2, 8, 4))
    assert Layout(fields=(field,), parameters=()).layout_id != Layout(fields=(flat,), parameters=()).layout_id


@pytest.mark.parametrize(("shape", "components"), [((8, 4), 2), ((2,), 2), ((8,), 0)])
def test_components_that_do_not_fit_the_shape(shape: tuple[int, ...], components: int) -> None:
    with pytest.raises(ValueError, match="components"):
        FieldSpec(name="velocity", shape=shape, components=components)
