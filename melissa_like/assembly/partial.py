"""One sample while its parts arrive: which boxes came, and where a payload goes."""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.records import Box, Layout

__all__ = ["NOTHING", "BoxPlace", "PartialSample", "Placement", "as_bytes", "place_of"]


def as_bytes(array: npt.NDArray[Any]) -> memoryview:
    """The memory of a C-contiguous array."""
    return array.data.cast("B") if array.size else memoryview(bytearray())  # an empty one cannot be cast


class BoxPlace(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A sound box of a field: the same ones come at every step, so what follows from it is worked out once.

    Attributes:
        number: its name among all places of a study.
        size: elements in it.
        slices: the index of the box in the field.
        stretch: first and last byte in the field's memory, if the box is one stretch of it.
    """

    number: int
    field_id: int
    box: Box
    size: int
    slices: tuple[slice, ...]
    stretch: slice | None


def place_of(number: int, field_id: int, box: Box, layout: Layout) -> BoxPlace:
    """Work out where a box lies."""
    spec = layout.fields[field_id]
    stretch = None
    if box.size and _is_contiguous(box, spec.shape):
        itemsize = spec.numpy_dtype.itemsize
        first = int(np.ravel_multi_index(box.offset, spec.shape)) * itemsize
        stretch = slice(first, first + box.size * itemsize)
    return BoxPlace(number=number, field_id=field_id, box=box, size=box.size, slices=box.slices, stretch=stretch)


def _is_contiguous(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the box is one stretch of memory in a C-contiguous array of this shape."""
    whole = True  # whether the dimensions behind are taken whole
    for extent, total in zip(reversed(box.shape), reversed(shape), strict=True):
        if not whole and extent > 1:
            return False
        whole = whole and extent == total
    return True


class PartialSample:
    """The boxes of one time step that have arrived.

    Looking for overlaps costs one comparison per arrived box, which many client ranks would feel; so places of a
    decomposition that an earlier sample has proven to be disjoint are only looked up.

    Args:
        fields: where it is assembled, an array per field.
        size: elements of all its fields.
        proven: numbers of places known to be disjoint.
        time: physical time of the step.
    """

    __slots__ = ("_foreign", "_memory", "_missing", "_proven", "arrived", "fields", "time")

    def __init__(self, fields: tuple[npt.NDArray[Any], ...], size: int, proven: frozenset[int], *, time: float) -> None:
        self.fields = fields
        self.time = time
        self.arrived: dict[int, BoxPlace] = {}
        self._foreign: list[BoxPlace] = []
        self._proven = proven
        self._missing = size
        self._memory = [as_bytes(values) for values in fields]

    def conflict(self, place: BoxPlace) -> Box | None:
        """An arrived box that shares an element with this one."""
        if place.number in self.arrived:
            return place.box
        others = self._foreign if place.number in self._proven else self.arrived.values()
        for other in others:
            if other.field_id == place.field_id and other.box.overlaps(place.box):
                return other.box
        return None

    def memory_of(self, place: BoxPlace) -> memoryview | npt.NDArray[Any]:
        """The sample's own memory for a box: its bytes if it is one stretch of them, otherwise a view."""
        if not place.size:
            return memoryview(bytearray())
        if place.stretch is None:
            return self.fields[place.field_id][place.slices]
        return self._memory[place.field_id][place.stretch]

    def add(self, place: BoxPlace) -> bool:
        """A box has arrived; whether the sample is complete now."""
        self.arrived[place.number] = place
        if place.number not in self._proven:
            self._foreign.append(place)
        self._missing -= place.size
        return self._missing == 0

    @property
    def is_new_decomposition(self) -> bool:
        """Whether it has boxes that were not known to be disjoint."""
        return bool(self._foreign)


#: What a box without an element is part of.
NOTHING = PartialSample((), 0, frozenset(), time=math.nan)


class Placement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where the payload of a part goes.

    Attributes:
        target: the sample's own memory: contiguous bytes, or an array of some strides and the box's shape.
    """

    target: memoryview | npt.NDArray[Any]
    simulation: int
    attempt: int
    step: int
    partial: PartialSample
    place: BoxPlace
