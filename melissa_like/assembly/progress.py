"""Which steps of a simulation are complete, in little memory."""

from collections.abc import Iterator

__all__ = ["CompletedSteps"]


class CompletedSteps:
    """A set of steps that costs nothing once they are without gaps.

    Args:
        stride: the steps that come are this far apart.
    """

    __slots__ = ("_ahead", "_first_missing", "_stride")

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._first_missing = 0
        self._ahead: set[int] = set()

    def __contains__(self, step: object) -> bool:
        assert isinstance(step, int)
        position = step // self._stride
        return position < self._first_missing or position in self._ahead

    def __iter__(self) -> Iterator[int]:
        """The steps, in no order; they must be multiples of the stride."""
        for position in (*range(self._first_missing), *self._ahead):
            yield position * self._stride

    def discard(self, step: int) -> None:
        """Take a step out; costs as much as there are steps behind it."""
        position = step // self._stride
        if position < self._first_missing:
            self._ahead.update(range(position + 1, self._first_missing))
            self._first_missing = position
        else:
            self._ahead.discard(position)

    def add(self, step: int) -> None:
        """Add a step."""
        position = step // self._stride
        if position == self._first_missing:
            self._first_missing += 1
        else:
            self._ahead.add(position)
        while self._first_missing in self._ahead:
            self._ahead.remove(self._first_missing)
            self._first_missing += 1

    def copy(self) -> "CompletedSteps":
        """A set of its own with the same steps."""
        made = CompletedSteps(self._stride)
        made._first_missing, made._ahead = self._first_missing, self._ahead.copy()
        return made

    @property
    def first_missing(self) -> int:
        """How many steps there are before the first gap: positions, not steps."""
        return self._first_missing

    @property
    def ahead(self) -> Iterator[int]:
        """The positions of the steps behind it, in no order."""
        return iter(self._ahead)
