"""Where parts lie in the fields of a simulation: boxes, and points by an index list. A sound place is examined once."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.protocol.wire import Header
from melissa_like.records import STORAGE_DTYPES, Box, FieldSpec

__all__ = ["IndexList", "IndexLists", "Place", "Places", "index_list"]

IndexArray: TypeAlias = npt.NDArray[np.int64]

#: Places of a decomposition that are known to be sound; more than that are forgotten together.
_REMEMBERED_PLACES = 10_000


class IndexList(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The numbers of the points that a client rank sends, each of them once.

    Attributes:
        numbers: int64 [n].
        lowest: of the numbers; 0 if there are none.
        highest: of the numbers; -1 if there are none.
        is_run: they follow one another, so that the points are a box.
    """

    numbers: IndexArray
    lowest: int
    highest: int
    is_run: bool


#: By client rank, and by the number that the rank has given the list.
IndexLists: TypeAlias = Mapping[tuple[int, int], IndexList]


def index_list(numbers: IndexArray) -> IndexList | int:
    """What is known of some numbers of points; or one of them that is below 0, or there twice."""
    if not numbers.size:
        return IndexList(numbers=numbers, lowest=0, highest=-1, is_run=False)
    is_run = bool((numbers[1:] == numbers[:-1] + 1).all())
    ordered = numbers if is_run else np.sort(numbers)
    lowest, highest = int(ordered[0]), int(ordered[-1])
    twice = ordered[1:] == ordered[:-1]
    if lowest < 0 or (not is_run and twice.any()):
        return lowest if lowest < 0 else int(ordered[int(np.argmax(twice))])
    return IndexList(numbers=numbers, lowest=lowest, highest=highest, is_run=is_run)


class Place(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A sound part of a field: the same ones come at every step, so what follows from it is worked out once.

    Attributes:
        number: its name among all places of the same fields.
        box: that it fills; None: its points are those of an index list.
        size: elements in it.
        index: of its elements in the field.
        stretch: first and last byte in the field's memory, if it is one stretch of it.
    """

    number: int
    field_id: int
    box: Box | None
    size: int
    index: tuple[slice | EllipsisType | IndexArray, ...]
    stretch: slice | None = None


class Places:
    """The places of the fields of one simulation, or of all that have the same shapes.

    Args:
        specs: the fields, every shape in numbers.
        group: the key of the configuration that declares them.

    Attributes:
        size: elements of all fields together.
        proven: numbers of places that are known to be disjoint, because a whole of them was complete.
    """

    def __init__(self, specs: Sequence[FieldSpec], group: str = "fields") -> None:
        self._specs = specs
        self._group = group
        self._dtype_codes = [STORAGE_DTYPES.index(spec.numpy_dtype) for spec in specs]
        self._boxes: dict[tuple[int, int, Box], Place] = {}
        self._points: dict[tuple[int, int, Box, int], Place] = {}
        self._num_places = 0
        self.size = sum(spec.size for spec in specs)
        self.proven: frozenset[int] = frozenset()

    def of_box(self, header: Header) -> Place | Refusal:
        """Where a box lies."""
        key = (header.field_id, header.dtype_code, header.box)
        place = self._boxes.get(key)
        if place is None:
            refusal = self._refuse_field(header) or self._refuse_outside(header)
            if refusal is not None:
                return refusal
            place = self._boxes[key] = self._box_place(header.field_id, header.box)
        return place

    def of_points(self, header: Header, lists: IndexLists) -> Place | Refusal:
        """Where points lie.

        Args:
            header: of a scattered part.
            lists: that have come of its attempt; they do not change as long as this lives.
        """
        key = (header.field_id, header.dtype_code, header.box, header.client_rank)
        place = self._points.get(key)
        if place is None:
            refusal = self._refuse_field(header) or self._refuse_points(header, lists)
            if refusal is not None:
                return refusal
            place = self._points[key] = self._points_place(header, lists)
        return place

    def refuse_conflict(self, header: Header, conflict: Box | int) -> Refusal:
        """What shares an element with what has arrived: with a box, or in a point."""
        name = self._specs[header.field_id].name
        of_step = "" if header.kind.is_static else f" of step {header.step}"
        once = "send each once" if header.kind.is_static else "send each once per step"
        if isinstance(conflict, int):
            return refusal_of(
                header,
                Reason.OVERLAP,
                f"point {conflict} of field {name!r}{of_step} was sent twice: {once}, from the rank that owns it and "
                "not from those that have it as a ghost",
            )
        if conflict == header.box:
            return refusal_of(
                header,
                Reason.SAME_BOX_TWICE,
                f"the box of field {name!r} with offset {conflict.offset} and shape {conflict.shape}{of_step} was sent "
                f"twice: {once}",
            )
        return refusal_of(
            header,
            Reason.OVERLAP,
            f"the box of field {name!r} with offset {header.box.offset} and shape {header.box.shape}{of_step} overlaps "
            f"the one with offset {conflict.offset} and shape {conflict.shape}: {once}",
        )

    def _box_place(self, field_id: int, box: Box) -> Place:
        spec = self._specs[field_id]
        stretch = None
        if box.size and _is_contiguous(box, spec.shape):
            itemsize = spec.numpy_dtype.itemsize
            first = int(np.ravel_multi_index(box.offset, spec.shape)) * itemsize
            stretch = slice(first, first + box.size * itemsize)
        return Place(
            number=self._next_number(),
            field_id=field_id,
            box=box,
            size=box.size,
            index=box.slices,
            stretch=stretch,
        )

    def _points_place(self, header: Header, lists: IndexLists) -> Place:
        box = header.box
        points = lists[header.client_rank, box.offset[-1]]
        if points.is_run:
            return self._box_place(header.field_id, Box((*box.offset[:-1], points.lowest), box.shape))
        return Place(
            number=self._next_number(),
            field_id=header.field_id,
            box=None,
            size=box.size,
            index=(..., points.numbers),
        )

    def _next_number(self) -> int:
        if len(self._boxes) + len(self._points) >= _REMEMBERED_PLACES:
            self._boxes.clear()
            self._points.clear()
        self._num_places += 1
        return self._num_places

    def _refuse_field(self, header: Header) -> Refusal | None:
        """What contradicts the declaration of the fields, whatever the box is."""
        group = self._group
        if header.field_id >= len(self._specs):
            return refusal_of(
                header,
                Reason.UNDECLARED_FIELD,
                f"field number {header.field_id} was sent but {len(self._specs)} are declared: declare it under "
                f"solver.{group}",
            )
        spec = self._specs[header.field_id]
        if header.dtype_code != self._dtype_codes[header.field_id]:
            return refusal_of(
                header,
                Reason.WRONG_DTYPE,
                f"field {spec.name!r} was sent as {STORAGE_DTYPES[header.dtype_code]} but is declared as {spec.dtype}: "
                f"send {spec.dtype}, or declare what you send under solver.{group}.{spec.name}.dtype",
            )
        return None

    def _refuse_outside(self, header: Header) -> Refusal | None:
        spec = self._specs[header.field_id]
        if header.box.fits(spec.shape):
            return None
        return refusal_of(
            header,
            Reason.OUTSIDE,
            f"a box of field {spec.name!r} with offset {header.box.offset} and shape {header.box.shape} was sent but "
            f"the global shape is {spec.shape}: send boxes inside it, or declare another shape",
        )

    def _refuse_points(self, header: Header, lists: IndexLists) -> Refusal | None:
        spec, box = self._specs[header.field_id], header.box
        if spec.extent is None:
            return refusal_of(
                header,
                Reason.WRONG_LIST,
                f"field {spec.name!r} was sent by an index list but its shape {spec.shape} is fixed: send boxes",
            )
        *before, number = box.offset
        if len(box.shape) != len(spec.shape) or any(before) or box.shape[:-1] != spec.shape[:-1]:
            return refusal_of(
                header,
                Reason.OUTSIDE,
                f"points of field {spec.name!r} were sent with offset {box.offset} and shape {box.shape}, but the "
                f"field has the shape {spec.shown_shape}: send all components of a point together",
            )
        points = lists.get((header.client_rank, number))
        if points is None:
            return refusal_of(
                header,
                Reason.NO_LIST,
                f"points of field {spec.name!r} came before their index list {number}: send the INDEX message first on "
                "every connection",
            )
        if points.numbers.size != box.shape[-1]:
            return refusal_of(
                header,
                Reason.WRONG_LIST,
                f"{box.shape[-1]} points of field {spec.name!r} were sent by index list {number}, which has "
                f"{points.numbers.size} numbers: send as many points as the list has",
            )
        if points.highest >= spec.shape[-1]:
            return refusal_of(
                header,
                Reason.WRONG_LIST,
                f"index list {number} names point {points.highest}, but field {spec.name!r} has {spec.shape[-1]} "
                f"points in this simulation ({spec.extent}), numbered from 0: send numbers below that",
            )
        return None


def _is_contiguous(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the box is one stretch of memory in a C-contiguous array of this shape."""
    whole = True  # whether the dimensions behind are taken whole
    for extent, total in zip(reversed(box.shape), reversed(shape), strict=True):
        if not whole and extent > 1:
            return False
        whole = whole and extent == total
    return True
