"""What a solver yields becomes checked boxes; a mistake names the field, what came and what to do."""

import tracemalloc

import numpy as np
import pytest

from melissa_like.client import Part
from melissa_like.client.conversion import fill_from
from melissa_like.client.parts import PartChecker
from melissa_like.client.team import SoloTeam
from melissa_like.errors import SolverError
from melissa_like.records import Box, FieldSpec, Layout

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(6, 4)), FieldSpec(name="flag", shape=(6,), dtype="uint8")), parameters=("a",)
)


class MiddleOfThree(SoloTeam):
    """The second of three ranks with 1, 2 and 3 rows."""

    rank = 1
    size = 3

    def gather_rows(self, values: object) -> np.ndarray:
        return np.array([[1, 0], [2, 0], [3, 0]])


def checker(fields: dict[str, object], team: SoloTeam | None = None) -> PartChecker:
    made = PartChecker(LAYOUT.fields, team or SoloTeam())
    made.first_step(fields)
    return made


def test_a_bare_array_is_a_block_of_rows_in_rank_order() -> None:
    fields = {"u": np.ones((2, 4))}
    (part,) = checker(fields, MiddleOfThree()).check(fields)
    assert (part.shape.field_id, part.shape.box) == (0, Box((1, 0), (2, 4)))


def test_a_part_says_where_it_is() -> None:
    fields = {"flag": Part(np.ones(3, np.uint8), (2,)), "u": Part(np.ones((6, 1)), (0, 3))}
    parts = checker(fields).check(fields)
    assert [(part.shape.field_id, part.shape.box) for part in parts] == [(1, Box((2,), (3,))), (0, Box((0, 3), (6, 1)))]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"v": np.ones((6, 4))}, "field 'v' is not declared: solver.fields declares 'u', 'flag'"),
        ({"u": np.ones((6, 4), complex)}, "dtype complex128"),
        ({"u": np.ones((6, 4), int)}, "dtype int64"),
        ({"u": np.ones(6)}, "2 dimensions"),
        ({"u": Part(np.ones((6, 2)), (0, 3))}, "not inside the declared shape"),
        ({"u": Part(np.ones((6, 2)), (0, -1))}, "not inside the declared shape"),
        ({"u": np.ones((5, 4))}, "5 rows together"),
        ({"u": [[1.0, 2.0], [3.0]]}, "field 'u': rank 0 sent a list that is no array"),
        ({"u": Part([[1.0, 2.0], [3.0]], (0, 0))}, "field 'u': rank 0 sent a list that is no array"),
    ],
)
def test_what_breaks_the_declaration_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SolverError, match=words):
        checker(fields).check(fields)


def test_a_number_of_rows_that_changes_is_refused() -> None:
    made = checker({"u": np.ones((6, 4))})
    with pytest.raises(SolverError, match="at the first step it sent 6"):
        made.check({"u": np.ones((4, 4))})


@pytest.mark.parametrize(
    "array", [np.arange(24.0).reshape(6, 4), np.arange(24.0).reshape(4, 6).T, np.ones((12, 8))[::2, ::2]]
)
def test_a_payload_is_converted_and_in_c_order_whatever_the_strides(array: np.ndarray) -> None:
    target = bytearray(24 * 4)
    fill_from(array, np.dtype("float32"), memoryview(target))
    np.testing.assert_array_equal(np.frombuffer(target, np.float32).reshape(6, 4), array)


@pytest.mark.parametrize(
    "shape", [(1024, 1024), (3_000_000,), (2, 2, 700_000), (1, 1, 1_500_000), (700, 1000, 1), (0, 5)]
)
def test_a_large_box_travels_in_pieces_that_cover_it(shape: tuple[int, ...]) -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=tuple(n + 2 for n in shape)),), parameters=("a",))
    array = np.arange(float(np.prod(shape))).reshape(shape)
    fields = {"u": Part(array, (1,) * len(shape))}
    made = PartChecker(layout.fields, SoloTeam())
    made.first_step(fields)
    covered = np.zeros(layout.fields[0].shape, np.int8)
    whole = np.zeros(layout.fields[0].shape)
    for part in made.check(fields):
        assert part.shape.nbytes == 4 * part.shape.box.size <= 2**21
        assert part.array.shape == part.shape.box.shape
        covered[part.shape.box.slices] += 1
        whole[part.shape.box.slices] = part.array
    inside = (slice(1, -1),) * len(shape)
    assert (covered[inside] == 1).all()
    assert covered.sum() == array.size
    np.testing.assert_array_equal(whole[inside], array)


def test_a_decomposition_that_changes_at_every_step_is_not_remembered_without_end() -> None:
    """Nor the pieces of its boxes: this box of 120 MB has sixty."""
    size = 30_000_000
    layout = Layout(fields=(FieldSpec(name="u", shape=(size,)),), parameters=("a",))
    values = np.broadcast_to(np.float32(1.0), (size,))
    made = PartChecker(layout.fields, SoloTeam())
    made.first_step({"u": Part(values, (0,))})
    tracemalloc.start()
    for step in range(400):
        made.check({"u": Part(values[: size - 1000 + step], (step,))})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 7_000_000


def test_a_huge_box_travels_in_a_bounded_number_of_pieces() -> None:
    shape = (40, 1000, 100_000)  # 16 GB of the same number
    layout = Layout(fields=(FieldSpec(name="u", shape=shape),), parameters=("a",))
    fields = {"u": np.broadcast_to(np.float32(1.0), shape)}
    made = PartChecker(layout.fields, SoloTeam())
    made.first_step(fields)
    parts = made.check(fields)
    assert sum(part.shape.box.size for part in parts) == np.prod(shape)
    assert len(parts) < 600


class OneOf(SoloTeam):
    """One of several ranks that send so many rows each of every field."""

    def __init__(self, rank: int, rows: list[list[int]]) -> None:
        self.rank, self.size = rank, len(rows)
        self._rows = np.array(rows)

    def gather_rows(self, values: object) -> np.ndarray:
        assert values == self._rows[self.rank].tolist()
        return self._rows


VECTOR = Layout(
    fields=(FieldSpec(name="velocity", shape=(2, 7, 4), components=2), FieldSpec(name="p", shape=(7, 4))),
    parameters=("a",),
)


@pytest.mark.parametrize("rows", [[7], [2, 2, 3], [0, 7], [3, 1, 3]])
def test_ranks_share_the_rows_of_the_grid_of_a_field_with_components(rows: list[int]) -> None:
    """One rank or several: the parts are those of the same field."""
    whole = {"velocity": np.arange(56.0).reshape(2, 7, 4), "p": np.arange(28.0).reshape(7, 4)}
    received = {name: np.full(values.shape, np.nan) for name, values in whole.items()}
    for rank, number in enumerate(rows):
        first = sum(rows[:rank])
        mine = {
            "velocity": whole["velocity"][:, first : first + number],
            "p": whole["p"][first : first + number],
        }
        made = PartChecker(VECTOR.fields, OneOf(rank, [[n, n] for n in rows]))
        made.first_step(mine)
        for part in made.check(mine):
            received[VECTOR.fields[part.shape.field_id].name][part.shape.box.slices] = part.array
    for name, values in whole.items():
        np.testing.assert_array_equal(received[name], values)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 6, 4), r"6 rows together \(6\).*send 7 rows in all along axis 1"),
        ((7, 4), "the declared shape .* has 3 dimensions"),
        ((7,), "the declared shape .* has 3 dimensions"),
    ],
)
def test_a_field_with_components_that_is_cut_along_another_axis_is_named(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(SolverError, match=words):
        PartChecker(VECTOR.fields, SoloTeam()).first_step({"velocity": np.ones(shape)})


def test_the_components_come_first_also_where_the_rows_change() -> None:
    made = PartChecker(VECTOR.fields, SoloTeam())
    made.first_step({"velocity": np.ones((2, 7, 4))})
    with pytest.raises(SolverError, match="sent 3 rows along axis 1, at the first step it sent 7"):
        made.check({"velocity": np.ones((2, 3, 4))})
