"""One sample while its parts arrive: which boxes came, and where a payload goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.assembly.parts import Reservation
from melissa_like.protocol.wire import Header
from melissa_like.records import Box, Layout

__all__ = ["PartialSample", "Placement", "as_bytes", "is_contiguous"]


def is_contiguous(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the box is one stretch of memory in a C-contiguous array of this shape."""
    whole = True  # whether the dimensions behind are taken whole
    for extent, total in zip(reversed(box.shape), reversed(shape), strict=True):
        if not whole and extent > 1:
            return False
        whole = whole and extent == total
    return True


def as_bytes(array: npt.NDArray[Any]) -> memoryview:
    """The memory of a C-contiguous array."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


class PartialSample:
    """The boxes of one time step that have arrived.

    Looking for overlaps costs one comparison per arrived box, which many client ranks would feel; so boxes of a
    decomposition that an earlier sample has proven to be disjoint are only looked up.

    Args:
        reservation: where it is assembled.
        proven: by field, boxes known to be disjoint.
        time: physical time of the step.
    """

    __slots__ = ("_foreign", "_missing", "_proven", "arrived", "reservation", "time")

    def __init__(
        self, reservation: Reservation, layout: Layout, proven: Sequence[frozenset[Box]], *, time: float
    ) -> None:
        self.reservation = reservation
        self.time = time
        self.arrived: tuple[set[Box], ...] = tuple(set() for _ in layout.fields)
        self._foreign: tuple[list[Box], ...] = tuple([] for _ in layout.fields)
        self._proven = proven
        self._missing = sum(field.size for field in layout.fields)

    def conflict(self, field_id: int, box: Box) -> Box | None:
        """An arrived box that shares an element with this one."""
        arrived = self.arrived[field_id]
        if box in arrived:
            return box if box.size else None
        others = self._foreign[field_id] if box in self._proven[field_id] else arrived
        return next((other for other in others if other.overlaps(box) and other.size and box.size), None)

    def add(self, field_id: int, box: Box) -> bool:
        """A box has arrived; whether the sample is complete now."""
        self.arrived[field_id].add(box)
        if box not in self._proven[field_id]:
            self._foreign[field_id].append(box)
        self._missing -= box.size
        return self._missing == 0

    @property
    def is_new_decomposition(self) -> bool:
        """Whether it has boxes that were not known to be disjoint."""
        return any(self._foreign)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """Where the payload of a part goes.

    Attributes:
        target: as many bytes as the payload has.
        scratch: memory of its own, to be copied; None: `target` is the sample's own memory.
    """

    target: memoryview
    header: Header
    partial: PartialSample
    scratch: npt.NDArray[Any] | None
