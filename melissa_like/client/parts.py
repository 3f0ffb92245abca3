"""From what a solver yields to the parts of a step: which place of which field, checked against the declaration."""

import math
import operator
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.client.conversion import LostValueError, MaskedValueError, plain_array
from melissa_like.client.points import LARGEST_PIECE_BYTES, PointList, PointLists, Scattered, refuse_points
from melissa_like.client.team import Team
from melissa_like.errors import SolverError
from melissa_like.records import Box, FieldSpec

__all__ = ["LocalPart", "Part", "PartChecker", "PartShape", "refused_value"]

_REMEMBERED_PIECES = 10_000
#: Each piece of a sample is compared with every other when a decomposition is new.
_MOST_PIECES = 256


@dataclass(frozen=True, slots=True)
class Part:
    """A rank's box of a field, for decompositions other than blocks of rows in rank order.

    Attributes:
        array: the values, of any strides.
        offset: index of its first element in the global array.
    """

    array: npt.ArrayLike
    offset: tuple[int, ...]


#: What says its own place.
_PLACED = (Part, Scattered)


class PartShape(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the same part has in common at every step; checked once, and one object for it ever after.

    Attributes:
        field_id: position of its field in the layout.
        dtype: in which it travels.
        box: its place; where it is scattered, as it stands in the header: the last offset is the number of a list.
        size: elements of its box.
        nbytes: of its payload.
        cut: where it lies in the array that the solver gave, if it is not all of it.
        points: numbers of its points; None: it is a box.
    """

    field_id: int
    dtype: np.dtype[np.generic]
    box: Box
    size: int
    nbytes: int
    cut: tuple[slice | EllipsisType, ...] | None
    points: npt.NDArray[np.int64] | None = None

    def index_of(self, index: Sequence[int]) -> tuple[int, ...]:
        """Of an element of this part in the whole field."""
        if self.points is not None:
            return (*index[:-1], int(self.points[index[-1]]))
        return tuple(i + o for i, o in zip(index, self.box.offset, strict=True))


class LocalPart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A checked part and its values."""

    shape: PartShape
    array: npt.NDArray[Any]


class PartChecker:
    """Turns the fields of a step into checked parts; one per simulation and rank.

    A bare array is a block of rows of the grid: the ranks' arrays follow one another in rank order along axis 0, or
    along axis 1 of a field of several components, which come first. Where they begin is settled once, at the first
    step, by all ranks together; a decomposition that changes gives its offsets by `Part`.

    Args:
        specs: what is sent, every shape in numbers.
        team: the ranks.
        lists: of this rank in this simulation.
        group: the key of the configuration that declares the fields.

    Attributes:
        rows: of this rank by field, once they are counted.
    """

    def __init__(
        self, specs: Sequence[FieldSpec], team: Team, lists: PointLists | None = None, group: str = "fields"
    ) -> None:
        self._specs = specs
        self._team = team
        self._lists = lists if lists is not None else PointLists(team.rank)
        self._group = group
        self._ids = {spec.name: number for number, spec in enumerate(specs)}
        self._fills = {spec.name: spec.stored_fill for spec in specs}
        self._known: dict[tuple[Any, ...], tuple[PartShape, ...]] = {}
        self._num_known = 0
        self._scatters = False
        self._first_rows: list[int] | None = None
        self.rows = [0] * len(specs)

    def count_rows(self, fields: Mapping[str, Any]) -> None:
        """Count this rank's rows of each field, before its first step; the other ranks have no part in it.

        Raises:
            SolverError: a value that is no array, or has a wrong number of dimensions.
        """
        self.rows = [self._num_rows(spec, fields.get(spec.name)) for spec in self._specs]

    def first_step(self, fields: Mapping[str, Any]) -> None:
        """Count, gather and settle; every rank calls it at its first step.

        Raises:
            SolverError: of `count_rows`, on this rank alone; of `settle`, on every rank.
        """
        self.count_rows(fields)
        self.settle(self._team.gather_rows(self.rows))

    def settle(self, rows: npt.NDArray[np.int64]) -> None:
        """Settle where each rank's rows begin, from the rows of all ranks: [ranks, fields].

        Raises:
            SolverError: the ranks have together more or fewer rows than a field.
        """
        self._first_rows = [int(n) for n in rows[: self._team.rank].sum(axis=0)]
        for spec, counted in zip(self._specs, rows.T, strict=True):
            total, expected = int(counted.sum()), spec.shape[spec.row_axis]
            if total > 0 and total != expected:
                raise SolverError(
                    f"field {spec.name!r}: the ranks' arrays have {total} rows together "
                    f"({', '.join(str(int(n)) for n in counted)}) but its declared shape is {spec.shape}: send "
                    f"{expected} rows in all{_along(spec)}, or give each array's place with "
                    f"melissa_like.client.Part(array, offset){' or Scattered(array, numbers)' if spec.extent else ''}"
                )

    @property
    def started(self) -> bool:
        """Whether it is settled where each rank's rows begin."""
        return self._first_rows is not None

    def check(self, fields: Mapping[str, Any]) -> list[LocalPart]:
        """The parts of one step; a large box in several pieces.

        Raises:
            SolverError: an undeclared field, a wrong dtype or number of dimensions, a box outside the global shape.
        """
        if self._scatters:
            self._lists.look_again()
        return [part for name, value in fields.items() for part in self._parts(name, value)]

    def _parts(self, name: str, value: Any) -> list[LocalPart]:
        inside, place = self._place_of(name, value) if isinstance(value, _PLACED) else (value, None)
        array = self._array_of(name, inside)
        key = (name, array.shape, array.dtype, place)
        shapes = self._known.get(key)
        if shapes is None:
            shapes = tuple(self._examine(name, array, place))
            if self._num_known >= _REMEMBERED_PIECES:  # a decomposition that changes at every step
                self._known.clear()
                self._num_known = 0
            self._known[key] = shapes
            self._num_known += len(shapes)
        return [LocalPart(shape=shape, array=array if shape.cut is None else array[shape.cut]) for shape in shapes]

    def _place_of(self, name: str, value: Part | Scattered) -> tuple[Any, tuple[int, ...] | PointList]:
        if isinstance(value, Part):
            return value.array, _offset_of(name, value)
        self._scatters = True
        return value.array, self._lists.find(name, value.numbers)

    def _array_of(self, name: str, value: Any) -> npt.NDArray[Any]:
        try:
            return plain_array(value, self._fills.get(name))
        except MaskedValueError as masked:
            raise SolverError(
                f"field {name!r}: rank {self._team.rank} sent an array with {masked.number} masked entries, the first "
                f"at index {masked.index} of it: a masked entry has no value; fill them before you send"
                f"{'' if self._group != 'fields' else f', or declare solver.fields.{name}.fill_value'}"
            ) from None
        except (ValueError, TypeError, RuntimeError) as error:  # a list whose rows differ in length, a tensor on a GPU
            raise SolverError(
                f"field {name!r}: rank {self._team.rank} sent a {type(value).__name__} that is no array ({error}): "
                "send a numpy array"
            ) from None

    def _num_rows(self, spec: FieldSpec, value: Any) -> int:
        """Rows of a bare array; 0 for a part that says its own place, or none."""
        if value is None or isinstance(value, _PLACED):
            return 0
        array = self._array_of(spec.name, value)
        _check_dimensions(spec, array)
        return int(array.shape[spec.row_axis])

    def _examine(
        self, name: str, array: npt.NDArray[Any], place: tuple[int, ...] | PointList | None
    ) -> Iterator[PartShape]:
        """Check a part that is new in place, shape or dtype."""
        field_id = self._ids.get(name)
        if field_id is None:
            declared = ", ".join(repr(spec.name) for spec in self._specs) or "nothing"
            raise SolverError(
                f"field {name!r} is not declared: solver.{self._group} declares {declared}; declare it or do not send "
                "it"
            )
        spec = self._specs[field_id]
        _check_dtype(spec, array, self._group)
        _check_dimensions(spec, array)
        if isinstance(place, PointList):
            refuse_points(spec, self._team.rank, array, place)
            return _at_points(field_id, spec, place)
        return self._in_box(field_id, spec, array, place)

    def _in_box(
        self, field_id: int, spec: FieldSpec, array: npt.NDArray[Any], offset: tuple[int, ...] | None
    ) -> Iterator[PartShape]:
        if offset is None:
            offset = self._row_offset(field_id, spec, array)
        box = Box(offset, array.shape)
        if not box.fits(spec.shape):
            raise SolverError(
                f"field {spec.name!r}: rank {self._team.rank} sent a box of shape {box.shape} at offset {box.offset}, "
                f"which is not inside the declared shape {spec.shape}: correct the offset, or the shape under "
                f"solver.{self._group}"
            )
        if not box.size:  # nothing to send
            return
        itemsize = spec.numpy_dtype.itemsize
        largest = max(LARGEST_PIECE_BYTES // itemsize, -(-box.size // _MOST_PIECES))
        for piece in _pieces(box.shape, largest):
            place = Box(tuple(o + p for o, p in zip(box.offset, piece.offset, strict=True)), piece.shape)
            yield PartShape(
                field_id=field_id,
                dtype=spec.numpy_dtype,
                box=place,
                size=place.size,
                nbytes=place.size * itemsize,
                cut=None if place == box else piece.slices,
            )

    def _row_offset(self, field_id: int, spec: FieldSpec, array: npt.NDArray[Any]) -> tuple[int, ...]:
        assert self._first_rows is not None, "first_step comes first"
        num_rows = array.shape[spec.row_axis]
        if num_rows != self.rows[field_id]:
            raise SolverError(
                f"field {spec.name!r}: rank {self._team.rank} sent {num_rows} rows{_along(spec)}, at the first step it "
                f"sent {self.rows[field_id]}: for a decomposition that changes, send "
                "melissa_like.client.Part(array, offset)"
            )
        return tuple(self._first_rows[field_id] if axis == spec.row_axis else 0 for axis in range(array.ndim))


def _pieces(shape: tuple[int, ...], largest: int) -> Iterator[Box]:
    """Boxes of so many elements at most that cover an array: blocks of rows, of parts of a row if one is too large."""
    size = math.prod(shape)
    if size <= largest:
        yield Box((0,) * len(shape), shape)
        return
    row_size = size // shape[0]
    num_rows = max(1, min(-(-shape[0] // -(-size // largest)), largest // row_size))
    for first in range(0, shape[0], num_rows):
        rows = min(num_rows, shape[0] - first)
        for inner in _pieces(shape[1:], max(largest // rows, 1)):
            yield Box((first, *inner.offset), (rows, *inner.shape))


def refused_value(
    spec: FieldSpec, rank: int, shape: PartShape, lost: LostValueError, group: str = "fields"
) -> SolverError:
    """What is said of a value that the declared dtype cannot hold."""
    return SolverError(
        f"field {spec.name!r}: rank {rank} sent {lost.value} at index {shape.index_of(lost.index)} of the field, which "
        f"the declared dtype {spec.dtype} cannot hold ({lost.number} such values in this part): declare another dtype "
        f"under solver.{group}, or send values that it holds"
    )


def _at_points(field_id: int, spec: FieldSpec, points: PointList) -> Iterator[PartShape]:
    """Pieces of values at the points of a list, one per piece of the list."""
    for number, inside in points.pieces:
        numbers = points.numbers[inside]
        box = Box((*(0,) * (len(spec.shape) - 1), number), (*spec.shape[:-1], numbers.size))
        yield PartShape(
            field_id=field_id,
            dtype=spec.numpy_dtype,
            box=box,
            size=box.size,
            nbytes=box.size * spec.numpy_dtype.itemsize,
            cut=None if numbers.size == points.numbers.size else (..., inside),
            points=numbers,
        )


def _offset_of(name: str, part: Part) -> tuple[int, ...]:
    """As plain numbers: one that is cut off to a whole number would put the part at another place."""
    try:
        return tuple(map(operator.index, part.offset))
    except TypeError:
        raise SolverError(
            f"field {name!r}: a Part with the offset {reprlib.repr(part.offset)} was sent: give the index of its first "
            "element, one whole number per dimension"
        ) from None


def _along(spec: FieldSpec) -> str:
    """Which axis rows are counted on, where it is not the first."""
    return f" along axis {spec.row_axis}" if spec.row_axis else ""


def _check_dimensions(spec: FieldSpec, array: npt.NDArray[Any]) -> None:
    if array.ndim != len(spec.shape):
        raise SolverError(
            f"field {spec.name!r}: an array of shape {array.shape} was sent, the declared shape {spec.shape} has "
            f"{len(spec.shape)} dimensions: send arrays with as many"
        )


def _check_dtype(spec: FieldSpec, array: npt.NDArray[Any], group: str) -> None:
    if array.dtype.kind != spec.numpy_dtype.kind:
        advice = f"or declare another dtype under solver.{group} (a precision is converted on the way, a kind is not)"
        if spec.indexes is not None:
            advice = "because numbers of points are whole; for the reader of a program, write numbers_from"
        raise SolverError(
            f"field {spec.name!r}: an array of dtype {array.dtype} was sent, it is declared {spec.dtype}: convert it, "
            f"{advice}"
        )
