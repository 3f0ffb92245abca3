"""Arrays as they lie in files become fields as they are declared, or are refused with what to write instead."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from melissa_like.client.readers.fields import parsed_selection, sources_of
from melissa_like.client.readers.joining import along_an_axis, by_offsets
from melissa_like.client.readers.times import Times
from melissa_like.errors import SolverError


def field_of(options: Any, declared: tuple[int | str, ...] | None = None, **arrays: np.ndarray) -> np.ndarray:
    return sources_of({"u": options})["u"].field_of(arrays, declared, "field 'u' in a.npy")


def test_the_options_in_their_order() -> None:
    stored = np.arange(4 * 5 * 3)
    options = {"name": "U", "shape": [4, 5, 3], "select": "1:-1, ::2, :2", "axes": [2, 0, 1]}
    expected = stored.reshape(4, 5, 3)[1:-1, ::2, :2].transpose(2, 0, 1)
    np.testing.assert_array_equal(field_of(options, (2, 2, 3), U=stored), expected)


def test_the_first_axis_may_run_fastest() -> None:
    stored = np.arange(12)
    np.testing.assert_array_equal(field_of({"order": "F"}, (3, 4), u=stored), stored.reshape(3, 4, order="F"))
    np.testing.assert_array_equal(field_of({"order": "F", "shape": [3, 4]}, u=stored), stored.reshape(4, 3).T)


def test_several_names_are_components() -> None:
    x, y = np.arange(6.0), np.arange(6.0) + 10
    np.testing.assert_array_equal(field_of(["x", "y"], (2, 2, 3), x=x, y=y), np.stack([x, y]).reshape(2, 2, 3))
    with pytest.raises(SolverError, match=r"components have the shapes 'x' \(6,\), 'y' \(5,\): they must be equal"):
        field_of(["x", "y"], x=x, y=y[:-1])


@given(array_shapes(max_dims=4), st.sampled_from("CF"))
def test_a_flat_array_takes_the_declared_shape(shape: tuple[int, ...], order: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(field_of({"order": order}, shape, u=array.ravel(order)), array)


def test_axes_of_size_one_come_and_go() -> None:
    assert field_of(None, (1, 6), u=np.zeros((6, 1))).shape == (1, 6)
    assert field_of(None, (1,), u=np.float64(3.0)).shape == (1,)
    assert field_of(None, ("num_points",), u=np.zeros((6, 1))).shape == (6,)


@pytest.mark.parametrize(
    ("options", "declared", "shape", "told"),
    [
        (
            {},
            (3, 4, 4),
            (4, 4, 3),
            r"received 48 values, of shape [4, 4, 3]; expected 48, of shape [3, 4, 4]: for axes",
        ),
        ({}, (3, 4, 4), (4, 4, 3), "axes: [2, 0, 1]"),
        ({}, (4, 4), (10, 4, 4), "if there are several steps in it, say along which axis: step_axis: 0"),
        ({}, (4, 4), (4, 4, 10), "step_axis: 2"),
        ({}, (4, 4), (15,), "received 15 values, of shape [15]; expected 16, of shape [4, 4]: correct the declared"),
        ({"shape": [4, 4]}, (4, 4), (15,), "has 15 values, of shape (15,), and not those of the shape [4, 4]"),
        ({"select": "7"}, (4,), (4, 4), "its array has the shape (4, 4), to which select and axes"),
        ({"axes": [0]}, (4,), (4, 4), "its array has the shape (4, 4), to which select and axes"),
    ],
)
def test_what_does_not_fit(options: Any, declared: tuple[int, ...], shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(SolverError) as caught:
        field_of(options, declared, u=np.zeros(shape))
    assert str(caught.value).startswith("field 'u' in a.npy: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([], "fields is []: write a list of names, or field: name in the file"),
        (3, "fields is 3"),
        ({"u": {"shapes": [3]}}, "fields.u has the options shapes: there are axes, name, order, select, shape"),
        ({"u": {"order": "A"}}, "fields.u.order is 'A': write C (the last axis runs fastest) or F"),
        ({"u": {"axes": "01"}}, "fields.u.axes is '01': write a list of whole numbers"),
        ({"u": {"select": "a:b"}}, "fields.u.select is 'a:b': write for each axis a number"),
        ({"u": {"select": "1:2:3:4"}}, "fields.u.select is '1:2:3:4'"),
        ({"u": [1.5]}, "fields.u.name is [1.5]: write a name, the number of a column, or a list of these"),
    ],
)
def test_options_that_are_none(fields: Any, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        sources_of(fields)
    assert told in str(caught.value)


def test_the_short_ways_to_write_fields() -> None:
    assert {name: source.names for name, source in sources_of(["u", "v"]).items()} == {"u": ("u",), "v": ("v",)}
    assert {name: source.names for name, source in sources_of("u").items()} == {"u": ("u",)}
    assert sources_of({"u": 3, "v": None, "w": ["a", 2], "x": {"name": "X"}, "y": {}}).keys() == set("uvwxy")
    assert [s.names for s in sources_of({"u": 3, "v": None, "w": ["a", 2]}).values()] == [(3,), ("v",), ("a", 2)]
    assert parsed_selection("..., 0", "it") == (Ellipsis, 0)


@given(st.data())
def test_boxes_of_ranks_make_the_whole(data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
    whole = np.arange(np.prod(shape)).reshape(shape)
    cuts = [sorted({0, n, *data.draw(st.sets(st.integers(0, n), max_size=2))}) for n in shape]
    grid = np.meshgrid(*[range(len(cut) - 1) for cut in cuts], indexing="ij")
    places = [
        [cut[i : i + 2] for cut, i in zip(cuts, index, strict=True)] for index in zip(*map(np.ravel, grid), strict=True)
    ]
    pieces = [whole[tuple(slice(*ends) for ends in place)] for place in places]
    offsets = [np.array([first for first, _ in place]) for place in places]
    np.testing.assert_array_equal(by_offsets(pieces, offsets, "u"), whole)
    if len(pieces) > 1:
        with pytest.raises(SolverError, match="each must be in one box"):
            by_offsets(pieces[1:] + pieces[-1:], offsets[1:] + offsets[-1:], "u")


def test_pieces_that_do_not_join() -> None:
    with pytest.raises(SolverError, match=r"u: the pieces \[2, 3\], \[2, 4\] of the ranks do not join along axis 0"):
        along_an_axis([np.zeros((2, 3)), np.zeros((2, 4))], 0, "u")
    with pytest.raises(SolverError, match=r"the shape \[2, 3\] and the offset \[0\]: an index for each axis"):
        by_offsets([np.zeros((2, 3))], [np.array([0])], "u")


def test_times() -> None:
    assert Times().time_of(3, 2, {}, 0.5) == 0.5
    assert Times(0.25).time_of(3, 2, {}, None) == 0.75
    assert Times([1, 2, 4]).time_of(30, 2, {}, None) == 4.0
    assert Times("t").time_of(3, 2, {"t": np.array([0.125])}) == 0.125
    with pytest.raises(SolverError, match="step 9 is the step number 3 that the program has written"):
        Times([1, 2]).time_of(9, 2, {})
    with pytest.raises(SolverError, match=r"the time 't' has the shape \(2,\)"):
        Times("t").time_of(9, 2, {"t": np.zeros(2)})
    with pytest.raises(ValueError, match="time is True"):
        Times(True)
