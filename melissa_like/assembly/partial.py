"""One sample while its parts arrive: which came, and where a payload goes."""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.assembly.places import Place
from melissa_like.records import Box

__all__ = ["NOTHING", "PartialSample", "Placement", "as_bytes"]


def as_bytes(array: npt.NDArray[Any]) -> memoryview:
    """The memory of a C-contiguous array."""
    return array.data.cast("B") if array.size else memoryview(bytearray())  # an empty one cannot be cast


class PartialSample:
    """The parts of one time step, or of what a simulation sends once, that have arrived.

    Looking for overlaps costs one comparison per arrived box, which many client ranks would feel; so places of a
    decomposition that an earlier sample has proven to be disjoint are only looked up. Where points come by index lists,
    those that have come are marked one by one, until the decomposition is proven.

    Args:
        fields: where it is assembled, an array per field.
        size: elements of all its fields.
        proven: numbers of places known to be disjoint.
        time: physical time of the step.
    """

    __slots__ = ("_foreign", "_marked", "_memory", "_missing", "_proven", "arrived", "fields", "time")

    def __init__(
        self, fields: tuple[npt.NDArray[Any], ...], size: int, proven: frozenset[int], *, time: float = math.nan
    ) -> None:
        self.fields = fields
        self.time = time
        self.arrived: dict[int, Place] = {}
        self._foreign: list[Place] = []
        self._marked: dict[int, npt.NDArray[np.bool_]] | None = None  # elements that have come, by field
        self._proven = proven
        self._missing = size
        self._memory = [as_bytes(values) for values in fields]

    def conflict(self, place: Place) -> Box | int | None:
        """What has arrived and shares an element with this one: a box, or the number of a point."""
        if place.number in self.arrived:
            return self._number_of_a_point(place) if place.box is None else place.box
        others = self._foreign if place.number in self._proven else self.arrived.values()
        for other in others:
            if other.field_id != place.field_id:
                continue
            if other.box is None or place.box is None:
                return self._marked_point(place)
            if other.box.overlaps(place.box):
                return other.box
        return None

    def memory_of(self, place: Place) -> memoryview | npt.NDArray[Any] | None:
        """The sample's own memory for a part: its bytes if it is one stretch of them, a view if it is a box.

        None: it is neither, and is to be given to `scatter`.
        """
        if place.stretch is not None:
            return self._memory[place.field_id][place.stretch]
        if not place.size:
            return memoryview(bytearray())
        return None if place.box is None else self.fields[place.field_id][place.index]

    def scatter(self, place: Place, payload: bytearray | memoryview) -> None:
        """Put points where they belong: the only copy of a payload there is.

        Component by component, which numpy does up to four times as fast as all at once.

        Args:
            place: of the points.
            payload: begins with them.
        """
        field, numbers = self.fields[place.field_id], place.index[-1]
        components = field[np.newaxis] if field.ndim == 1 else field
        values = np.frombuffer(payload, field.dtype, place.size).reshape(len(components), -1)
        for component, some in zip(components, values, strict=True):
            component[numbers] = some

    def add(self, place: Place) -> bool:
        """A part has arrived; whether the sample is complete now."""
        self.arrived[place.number] = place
        if place.number not in self._proven:
            self._foreign.append(place)
        if self._marked is not None and place.field_id in self._marked:
            self._marked[place.field_id][place.index] = True
        self._missing -= place.size
        return self._missing == 0

    @property
    def is_new_decomposition(self) -> bool:
        """Whether it has parts that were not known to be disjoint."""
        return bool(self._foreign)

    def _marked_point(self, place: Place) -> int | None:
        """The number of a point of a part that has come already."""
        if self._marked is None:
            self._marked = {}
        marked = self._marked.get(place.field_id)
        if marked is None:
            marked = self._marked[place.field_id] = np.zeros(self.fields[place.field_id].shape, np.bool_)
            for other in self.arrived.values():
                if other.field_id == place.field_id:
                    marked[other.index] = True
        there = marked[place.index]
        return self._number_of_a_point(place, there) if there.any() else None

    def _number_of_a_point(self, place: Place, among: npt.NDArray[np.bool_] | None = None) -> int:
        """The first of its points, or of those among them that are marked."""
        numbers = np.arange(self.fields[place.field_id].shape[-1])[place.index[-1]]
        return int(numbers[0 if among is None else np.nonzero(among)[-1][0]])


#: What a box without an element is part of.
NOTHING = PartialSample((), 0, frozenset())


class Placement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where the payload of a part of a time step goes.

    Attributes:
        target: the sample's own memory: contiguous bytes, or an array of some strides and the box's shape; of points
            that an index list names, memory from which `Assembler.add` puts them in place.
    """

    target: memoryview | npt.NDArray[Any]
    simulation: int
    attempt: int
    step: int
    partial: PartialSample
    place: Place
