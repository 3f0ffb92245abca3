"""Ranges against Python's sets, addresses there and back, windows and the steps that they need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.records import (
    ClientRank,
    FieldSpec,
    Layout,
    Ranges,
    ServerRank,
    StudyWideField,
    Window,
    missing_steps,
    num_samples,
    num_steps_in_no_window,
    parse_address,
    static_fields,
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


MESH = Layout(
    fields=(
        FieldSpec(name="u", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="drag", shape=(1,)),
    ),
    parameters=("a",),
    static=(
        FieldSpec(name="x", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="edges", shape=(2, 0), dtype="int64", components=2, extent="num_edges", indexes="num_points"),
    ),
)


def test_each_simulation_has_a_layout_of_its_own_size() -> None:
    assert MESH.extents == ("num_points", "num_edges")
    assert MESH.fields[0].shown_shape == "(2, num_points)"
    sized = MESH.sized({"num_edges": 7, "num_points": 5})
    assert [spec.shape for spec in (*sized.fields, *sized.static)] == [(2, 5), (1,), (2, 5), (2, 7)]
    assert (sized.sample_size, sized.sample_nbytes, sized.static_nbytes) == (11, 44, 40 + 112)
    assert list(sized.sizes.items()) == [("num_points", 5), ("num_edges", 7)]
    assert sized.layout_id == MESH.layout_id
    assert sized.sized({"num_points": 9, "num_edges": 1}) == MESH.sized({"num_points": 9, "num_edges": 1})


@pytest.mark.parametrize("extents", [{}, {"num_points": 3}, {"num_points": 3, "num_edges": 0}, {"a": 1, "b": 2}])
def test_a_layout_is_sized_by_all_of_its_extents(extents: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give a size of 1 or more for each of num_points, num_edges"):
        MESH.sized(extents)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (2, 4, 0), "components": 2, "extent": "n"}, r"shape \(2, 4, n\): an extent is the only axis"),
        ({"shape": (2, 0), "extent": "n"}, r"shape \(2, n\): an extent is the only axis"),
        ({"shape": (3,), "indexes": "n"}, "numbers of points are whole numbers"),
        ({"shape": (0,)}, "positive numbers of points"),
    ],
)
def test_a_field_that_cannot_be_on_a_mesh_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FieldSpec(name="u", **changes)  # type: ignore[arg-type]


def test_numbers_of_points_are_those_of_an_extent_that_there_is() -> None:
    edges = FieldSpec(name="edges", shape=(2, 0), dtype="int32", components=2, extent="num_edges", indexes="points")
    with pytest.raises(ValueError, match="'points', which is no extent of a field: write one of num_edges, or a"):
        Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=(), static=(edges,))


def test_equal_static_fields_are_known_by_their_digest() -> None:
    def made(num_points: int, first: float) -> bytes:
        layout = MESH.sized({"num_points": num_points, "num_edges": 2})
        x = np.full((2, num_points), first, np.float32)
        fields = static_fields(layout, {"x": x, "edges": np.zeros((2, 2), np.int64)})
        assert (fields.nbytes, list(fields.arrays), x.flags.writeable) == (layout.static_nbytes, ["x", "edges"], False)
        return fields.digest

    assert made(3, 0.5) == made(3, 0.5)
    assert len({made(3, 0.5), made(3, 0.25), made(4, 0.5)}) == 3
    with pytest.raises(ValueError, match="'edges' is missing"):
        static_fields(MESH.sized({"num_points": 3, "num_edges": 2}), {"x": np.zeros((2, 3), np.float32)})


def test_study_wide_fields_are_equal_if_their_values_are() -> None:
    spec = FieldSpec(name="k", shape=(3,))
    one, same, other = (StudyWideField(spec=spec, values=np.full(3, x, np.float32)) for x in (1, 1, 2))
    assert one == same != other
    with pytest.raises(ValueError, match=r"expected \(3,\) and float32"):
        StudyWideField(spec=spec, values=np.zeros(3))
