"""Tables of numbers as text: where columns are, what they are called, what they hold."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from melissa_like.client.readers.fields import Array, Name
from melissa_like.errors import SolverError

__all__ = ["Dialect", "TableLines"]

_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: a character between two cells; None: the comma, semicolon or tab in the first row, or else blanks.
        comments: what begins a comment; the last comment above the table may name its columns.
        skip: lines at the top that are not looked at.

    Raises:
        ValueError: a delimiter of several characters, no sign for comments, or a negative number of lines.
    """

    delimiter: str | None = None
    comments: str = "#"
    skip: int = 0

    def __post_init__(self) -> None:
        if (self.delimiter is not None and len(self.delimiter) != 1) or not self.comments or self.skip < 0:
            raise ValueError(
                f"delimiter is {self.delimiter!r}, comments {self.comments!r}, skip {self.skip}: write one character, "
                "what begins a comment, a number of lines"
            )

    def delimiter_in(self, line: str) -> str | None:
        """What stands between the cells of a line; None for blanks."""
        return self.delimiter or next((each for each in _SEPARATORS if each in line), None)

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without quotes and without blanks around them."""
        delimiter = self.delimiter_in(line)
        cells = line.split() if delimiter is None else next(csv.reader([line], delimiter=delimiter), [])
        return [cell.strip().strip("'\"") for cell in cells]

    def is_comment(self, line: str) -> bool:
        """Whether a line holds nothing else."""
        return line.lstrip().startswith(self.comments)


class TableLines:
    """Takes the lines of a table as they come, and gives the columns that are asked for.

    The first row is a header if none of its cells is a number; without one, the last comment above the first row is.

    Args:
        dialect: how the table is written.
        wanted: columns, by their names in the header or by their numbers, from 0; `*`, alone, is all of them.
        told: of which file, for messages.
    """

    def __init__(self, dialect: Dialect, wanted: Sequence[Name], told: str) -> None:
        self._dialect = dialect
        self._wanted = wanted
        self._told = told
        self._skipped = 0
        self._header: list[str] | None = None
        self._delimiter: str | None = None
        self._columns: list[int] | None = None

    def take(self, lines: Sequence[str]) -> Array:
        """The rows in these lines: [rows, columns].

        Raises:
            SolverError: there is no such column, or a cell is no number.
        """
        skipped = min(self._dialect.skip - self._skipped, len(lines))
        self._skipped += skipped
        rows = [line for line in lines[skipped:] if line.strip()]
        if self._columns is None:
            rows = self._begin(rows)
        if self._columns is None or not (rows := [row for row in rows if not self._dialect.is_comment(row)]):
            return np.empty((0, len(self._wanted)))
        try:
            return np.loadtxt(
                rows,
                delimiter=self._delimiter,
                comments=self._dialect.comments,
                usecols=self._columns,
                quotechar='"',
                ndmin=2,
            )
        except ValueError as error:
            raise SolverError(f"{self._told}: {error}; the first of {len(rows)} new rows is {rows[0]!r}") from None

    def _begin(self, lines: list[str]) -> list[str]:
        """Look for the first row: the lines from there, and the columns are known."""
        for number, line in enumerate(lines):
            if self._dialect.is_comment(line):
                self._header = self._dialect.cells(line.strip().removeprefix(self._dialect.comments).strip())
                continue
            cells = self._dialect.cells(line)
            if not any(map(_is_number, cells)):
                self._header = cells
                continue
            self._delimiter = self._dialect.delimiter_in(line)
            if list(self._wanted) == ["*"]:
                self._columns = [*range(len(cells))]
            else:
                self._columns = [self._column(name, len(cells)) for name in self._wanted]
            return lines[number:]
        return []

    def _column(self, name: Name, num_columns: int) -> int:
        if isinstance(name, int):
            if -num_columns <= name < num_columns:
                return name
            raise SolverError(f"{self._told} has no column {name}: it has {num_columns}, numbered from 0")
        header = self._header or []
        if len(header) != num_columns:
            raise SolverError(
                f"{self._told}: the column {name!r} cannot be found, because its {num_columns} columns have no header "
                f"of as many names{f' ({header})' if header else ''}: give the columns by their numbers, from 0"
            )
        if header.count(name) != 1:
            raise SolverError(
                f"{self._told} has {header.count(name)} columns {name!r}: it has {', '.join(header)}; correct fields "
                "or static in the options of the reader"
            )
        return header.index(name)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
