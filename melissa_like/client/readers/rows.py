"""The rows of a table that grows, divided into steps."""

from collections.abc import Iterator

import numpy as np

from melissa_like.client.readers.fields import Array
from melissa_like.errors import SolverError

__all__ = ["RowSteps"]


class RowSteps:
    """Takes rows as they come, and gives those of each step once it is complete.

    Args:
        num_rows: of each step; None: as many as have the same number in `column`. Such a step is complete when the next
            number appears.
        column: that holds the number of the step, if one does.
        told: of which file, for messages.
    """

    def __init__(self, *, num_rows: int | None, column: int | None, told: str) -> None:
        assert num_rows is not None or column is not None, "one of them divides the rows"
        self._num_rows = num_rows
        self._column = column
        self._told = told
        self._rows: Array | None = None

    def take(self, rows: Array, *, ended: bool) -> Iterator[tuple[int | None, Array]]:
        """The steps that are complete with these rows: number, if a column tells it, and rows.

        Args:
            rows: that are new: [rows, columns].
            ended: no row will follow.

        Raises:
            SolverError: a number that is no whole number, or too few rows of the last step.
        """
        there = rows if self._rows is None else np.concatenate([self._rows, rows])
        first = 0
        for end in self._ends(there, ended=ended):
            step = there[first:end]
            yield self._number(step[0]), step
            first = end
        self._rows = there[first:]
        if ended and len(self._rows):
            raise SolverError(
                f"{self._told}: the last step has {len(self._rows)} rows, where {self._num_rows} were expected"
            )

    def _ends(self, rows: Array, *, ended: bool) -> list[int]:
        if self._num_rows is not None:
            return [*range(self._num_rows, len(rows) + 1, self._num_rows)]
        ends = np.flatnonzero(np.diff(rows[:, self._column])) + 1
        return [*ends.tolist(), *([len(rows)] if ended and len(rows) else [])]

    def _number(self, row: Array) -> int | None:
        if self._column is None:
            return None
        number = float(row[self._column])
        if not number >= 0 or number != int(number):
            raise SolverError(f"{self._told}: the number of a step is {number:g}: a whole number from 0 is needed")
        return int(number)
