"""`SlotSet`: a set of slot indices with uniformly random choices in constant time."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from melissa_like.records import FloatArray

__all__ = ["SlotArray", "SlotSet"]

SlotArray: TypeAlias = npt.NDArray[np.int64]


class SlotSet:
    """Slots in no order; adding, discarding and choosing cost the same whatever the size."""

    def __init__(self) -> None:
        self._slots: SlotArray = np.empty(64, np.int64)
        self._position: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._position)

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    def __contains__(self, slot: object) -> bool:
        return slot in self._position

    @property
    def array(self) -> SlotArray:
        """A view of the slots, good until the next change."""
        return self._slots[: len(self._position)]

    def add(self, slot: int) -> None:
        """Add a slot that is not in the set."""
        position = len(self._position)
        if position == len(self._slots):
            self._slots = np.resize(self._slots, 2 * position)
        self._slots[position] = slot
        self._position[slot] = position

    def discard(self, slot: int) -> None:
        """Remove a slot if it is in the set: the last one takes its place."""
        position = self._position.pop(slot, None)
        if position is None:
            return
        last = int(self._slots[len(self._position)])
        if last != slot:
            self._slots[position] = last
            self._position[last] = position

    def choose(self, u: float) -> int:
        """The slot at a fraction `u` in [0, 1) of the set, which must not be empty."""
        return int(self._slots[int(u * len(self._position))])

    def choose_several(self, us: FloatArray) -> SlotArray:
        """The slot at each of these fractions; the same one may come twice."""
        return self._slots[(us * len(self._position)).astype(np.int64)]
