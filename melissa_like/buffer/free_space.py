"""`FreeSpace`: which bytes of an arena are free, where what is asked for has any size. Pure.

What is asked for is given in one piece where there is one that is large enough, the smallest such (best fit); else in
several, the largest first. So free bytes can always be used, however they are scattered: fragmentation costs a few
pieces more to copy, never room. The alternatives cost more: a log must move samples, which a gather may be reading;
classes of sizes waste up to the ratio between two; pages tear every sample apart.
"""

from bisect import bisect_left, insort

__all__ = ["UNIT", "FreeSpace", "Stretch", "whole_units"]

#: Bytes that everything is a multiple of: a cache line or more, and small beside a sample.
UNIT = 256

#: First byte, and the one behind the last.
Stretch = tuple[int, int]


def whole_units(nbytes: int) -> int:
    """Bytes that so many take here."""
    return -(-nbytes // UNIT) * UNIT


class FreeSpace:
    """The free stretches of an arena; neighbours are joined at once.

    Args:
        nbytes: of the arena, whole units.

    Attributes:
        nbytes: that are free.
    """

    def __init__(self, nbytes: int) -> None:
        assert nbytes == whole_units(nbytes), "an arena has whole units"
        self.nbytes = 0
        self._by_size: list[tuple[int, int]] = []  # size and first byte, ascending
        self._ends: dict[int, int] = {}  # by first byte
        self._starts: dict[int, int] = {}  # by the byte behind the last
        if nbytes:
            self._add(0, nbytes)

    def take(self, nbytes: int) -> tuple[Stretch, ...]:
        """Stretches of so many bytes together, whole units, which must be free; each is a multiple of a unit."""
        assert nbytes == whole_units(nbytes), "whole units are taken"
        assert nbytes <= self.nbytes, "more was taken than is free"
        taken: list[Stretch] = []
        while nbytes:
            position = bisect_left(self._by_size, (nbytes, 0))
            size, start = self._by_size[min(position, len(self._by_size) - 1)]
            used = min(size, nbytes)
            self._remove(start, start + size)
            if used < size:
                self._add(start + used, start + size)
            taken.append((start, start + used))
            nbytes -= used
        return tuple(taken)

    def give_back(self, stretches: tuple[Stretch, ...]) -> None:
        """What was taken is free again."""
        for start, end in stretches:
            if start in self._starts:
                joined = self._starts[start]
                self._remove(joined, start)
                start = joined
            if end in self._ends:
                joined = self._ends[end]
                self._remove(end, joined)
                end = joined
            self._add(start, end)

    @property
    def stretches(self) -> list[Stretch]:
        """All that is free, in order."""
        return sorted(self._ends.items())

    def _add(self, start: int, end: int) -> None:
        insort(self._by_size, (end - start, start))
        self._ends[start], self._starts[end] = end, start
        self.nbytes += end - start

    def _remove(self, start: int, end: int) -> None:
        del self._by_size[bisect_left(self._by_size, (end - start, start))]
        del self._ends[start], self._starts[end]
        self.nbytes -= end - start
