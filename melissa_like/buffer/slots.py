"""`SlotSet`: a set of slot indices with a uniformly random choice in constant time."""

from collections.abc import Iterator

__all__ = ["SlotSet"]


class SlotSet:
    """Slots in no order; adding, discarding and choosing cost the same whatever the size."""

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._position: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)

    def __contains__(self, slot: object) -> bool:
        return slot in self._position

    def add(self, slot: int) -> None:
        """Add a slot that is not in the set."""
        self._position[slot] = len(self._slots)
        self._slots.append(slot)

    def discard(self, slot: int) -> None:
        """Remove a slot if it is in the set: the last one takes its place."""
        position = self._position.pop(slot, None)
        if position is None:
            return
        last = self._slots.pop()
        if last != slot:
            self._slots[position] = last
            self._position[last] = position

    def choose(self, u: float) -> int:
        """The slot at a fraction `u` in [0, 1) of the set, which must not be empty."""
        return self._slots[int(u * len(self._slots))]
