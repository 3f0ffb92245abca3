"""Values on points of an unstructured partition, and the index lists that say which points they are.

A rank of such a partition holds points whose numbers do not follow one another. It says the numbers with the values;
the list travels once to each server rank, and is then named by its own number.
"""

import math
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.client.conversion import plain_array
from melissa_like.errors import SolverError
from melissa_like.records import FieldSpec, Layout

__all__ = ["LARGEST_PIECE_BYTES", "PointList", "PointLists", "Scattered", "points_per_list", "refuse_points"]

#: Larger parts travel in pieces, of which the caches still hold one when it is sent on, or copied to its place.
LARGEST_PIECE_BYTES = 2 * 2**20
#: Longer lists travel in pieces, each with a number of its own.
_MOST_POINTS_PER_LIST = 65_536
#: The number of a list has 16 bits.
_MOST_LISTS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Scattered:
    """A rank's values of a field on points, for partitions of a mesh, which are no boxes.

    Each point of the mesh is sent by one rank: leave out ghost points, which belong to another one.

    Attributes:
        array: the values, (components, n), or (n,) of one component, of any strides.
        numbers: n whole numbers: that of each point in the whole mesh, from 0. Give the same array for all fields and
            steps: it is copied and sent once.
    """

    array: npt.ArrayLike
    numbers: npt.ArrayLike


class PointList(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An index list of one rank in one simulation.

    Attributes:
        numbers: int64 [n], each once.
        highest: of the numbers; -1 if there are none.
        first_number: of its first piece; the others follow.
        points_per_list: in a piece, at most.
    """

    numbers: npt.NDArray[np.int64]
    highest: int
    first_number: int
    points_per_list: int

    @property
    def pieces(self) -> Iterator[tuple[int, slice]]:
        """As they travel: the number of each, and where its points are in the list."""
        for index, first in enumerate(range(0, self.numbers.size, self.points_per_list)):
            yield self.first_number + index, slice(first, min(first + self.points_per_list, self.numbers.size))


class PointLists:
    """The index lists of one rank in one simulation; equal numbers are one list.

    Args:
        rank: of this client, for messages.
        points_per_list: longer lists travel in pieces of so many.
    """

    def __init__(self, rank: int, points_per_list: int = _MOST_POINTS_PER_LIST) -> None:
        self._rank = rank
        self._points_per_list = points_per_list
        self._known: dict[tuple[int, int, int], list[PointList]] = {}
        self._num_pieces = 0
        # By identity: the array is held, so that nothing else gets its place in memory.
        self._seen: dict[int, tuple[Any, PointList]] = {}

    def look_again(self) -> None:
        """From now on the solver may have written other numbers into an array that it gave before."""
        self._seen.clear()

    def find(self, field: str, numbers: Any) -> PointList:
        """The list with these numbers, a new one if there is none.

        Args:
            field: its name, for messages.
            numbers: whatever holds whole numbers, as the solver gave it.

        Raises:
            SolverError: they are no whole numbers, negative, or one is there twice; or there are too many lists.
        """
        seen = self._seen.get(id(numbers))
        if seen is None:
            seen = self._seen[id(numbers)] = (numbers, self._equal_to(field, numbers))
        return seen[1]

    def _equal_to(self, field: str, numbers: Any) -> PointList:
        array = self._whole_numbers(field, numbers)
        ends = (int(array[0]), int(array[-1])) if array.size else (-1, -1)
        alike = self._known.setdefault((array.size, *ends), [])
        for known in alike:
            if np.array_equal(known.numbers, array):
                return known
        made = self._make(field, array)
        alike.append(made)
        return made

    def _whole_numbers(self, field: str, numbers: Any) -> npt.NDArray[np.integer[Any]]:
        try:
            array = plain_array(numbers, None)
        except (ValueError, TypeError, RuntimeError):
            array = None
        if array is not None and array.ndim == 1 and (array.dtype.kind in "iu" or not array.size):
            return array
        got = reprlib.repr(numbers) if array is None else f"an array of dtype {array.dtype} and shape {array.shape}"
        raise SolverError(
            f"field {field!r}: rank {self._rank} sent {got} as the numbers of its points: give one whole number per "
            "point, in one dimension"
        )

    def _make(self, field: str, array: npt.NDArray[np.integer[Any]]) -> PointList:
        ordered = np.sort(array)
        twice = ordered[1:] == ordered[:-1]
        lowest, highest = (int(ordered[0]), int(ordered[-1])) if array.size else (0, -1)
        wrong = f"field {field!r}: rank {self._rank} sent an index list with the point"
        if lowest < 0:
            raise SolverError(f"{wrong} {lowest}: points are numbered from 0")
        if twice.any():
            point = int(ordered[int(np.argmax(twice))])
            first, second = np.flatnonzero(array == point)[:2].tolist()
            raise SolverError(f"{wrong} {point} twice, at {first} and at {second}: name each point once")
        num_pieces = -(-array.size // self._points_per_list)
        if self._num_pieces + num_pieces > _MOST_LISTS:
            raise SolverError(
                f"field {field!r}: rank {self._rank} sent more than {_MOST_LISTS} index lists of at most "
                f"{self._points_per_list} points in this simulation: make one per partition, not one per step"
            )
        copied = np.array(array, np.int64)
        copied.flags.writeable = False
        made = PointList(
            numbers=copied,
            highest=highest,
            first_number=self._num_pieces,
            points_per_list=self._points_per_list,
        )
        self._num_pieces += num_pieces
        return made


def points_per_list(layout: Layout) -> int:
    """How long the pieces of index lists are: those of values at them have no more than `LARGEST_PIECE_BYTES`.

    All fields share the lists, so the one with the most bytes per point decides.
    """
    point_bytes = [
        math.prod(spec.shape[:-1]) * spec.numpy_dtype.itemsize
        for spec in (*layout.fields, *layout.static)
        if spec.extent is not None
    ]
    return max(1, min(_MOST_POINTS_PER_LIST, LARGEST_PIECE_BYTES // max(point_bytes, default=1)))


def refuse_points(spec: FieldSpec, rank: int, array: npt.NDArray[Any], points: PointList) -> None:
    """Refuse values that do not belong to the points of a list.

    Args:
        spec: of the field, with its size in this simulation.
        rank: of this client.
        array: with as many dimensions as the field has.
        points: of the values.

    Raises:
        SolverError: the field has no extent; the list names a point that it has not; or there is not one value for
            each component and point.
    """
    if spec.extent is None:
        raise SolverError(
            f"field {spec.name!r} was sent at points, but its declared shape is {spec.shape}: only a field whose shape "
            "names an extent is on points; send an array, or Part(array, offset)"
        )
    expected = (*spec.shape[:-1], points.numbers.size)
    if array.shape != expected:
        raise SolverError(
            f"field {spec.name!r}: rank {rank} sent an array of shape {array.shape} at {points.numbers.size} points, "
            f"expected {expected}: all components, and as many points as there are numbers"
        )
    if points.highest >= spec.shape[-1]:
        raise SolverError(
            f"field {spec.name!r}: rank {rank} sent values at point {points.highest}, but this simulation has "
            f"{spec.shape[-1]} points ({spec.extent}), numbered from 0: send numbers below that"
        )
