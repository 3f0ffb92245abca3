"""`Ranges`: a set of whole numbers that mostly follow one another, in little memory."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["Ranges"]


class Ranges:
    """A set of integers kept as half-open ranges: as many numbers as there are gaps, not as there are members.

    Args:
        ranges: (first, behind the last) each, in any order, overlapping or not.

    Raises:
        ValueError: a range that ends before it begins.
    """

    __slots__ = ("_ends", "_size", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._size = 0
        for start, end in ranges:
            self.add_range(start, end)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def __iter__(self) -> Iterator[int]:
        for start, end in self.ranges:
            yield from range(start, end)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.ranges == other.ranges

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ranges({list(self.ranges)})"

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges in order, none touching another."""
        return tuple(zip(self._starts, self._ends, strict=True))

    def add(self, number: int) -> bool:
        """Add a number; whether it was not there."""
        ends = self._ends
        if not ends or ends[-1] < number:
            self._starts.append(number)
            ends.append(number + 1)
        elif ends[-1] == number:  # the usual case: one goes on
            ends[-1] += 1
        else:
            return self.add_range(number, number + 1) == 1
        self._size += 1
        return True

    def add_range(self, start: int, end: int) -> int:
        """Add all numbers from `start` to before `end`; how many of them were not there.

        Raises:
            ValueError: `end` is before `start`.
        """
        if end < start:
            raise ValueError(f"a range from {start} to before {end}: it must not end before it begins")
        if end == start:
            return 0
        if self._ends and self._starts[-1] <= start <= self._ends[-1]:
            new = max(0, end - self._ends[-1])
            self._ends[-1] += new
            self._size += new
            return new
        first = bisect_right(self._starts, start)
        if first and self._ends[first - 1] >= start:
            first -= 1
        last = bisect_right(self._starts, end)
        covered = sum(self._ends[i] - self._starts[i] for i in range(first, last))
        if last > first:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        self._size += end - start - covered
        return end - start - covered

    def discard(self, number: int) -> None:
        """Take a number out, if it is there."""
        index = bisect_right(self._starts, number) - 1
        if index < 0 or number >= self._ends[index]:
            return
        start, end = self._starts[index], self._ends[index]
        left = [(a, b) for a, b in ((start, number), (number + 1, end)) if a < b]
        self._starts[index : index + 1] = [a for a, _ in left]
        self._ends[index : index + 1] = [b for _, b in left]
        self._size -= 1

    def copy(self) -> "Ranges":
        """A set of its own with the same members."""
        made = Ranges()
        made._starts, made._ends, made._size = self._starts.copy(), self._ends.copy(), self._size
        return made
