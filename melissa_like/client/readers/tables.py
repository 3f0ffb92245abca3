"""Tables as text: CSV and its relatives."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.fields import Name, Source, sources_of
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import nothing_found
from melissa_like.client.readers.once import StaticSources
from melissa_like.client.readers.own_file import own_file
from melissa_like.client.readers.pattern import Pattern
from melissa_like.client.readers.rows import RowSteps
from melissa_like.client.readers.series import FileSeries
from melissa_like.client.readers.steps import checked_completion
from melissa_like.client.readers.table import Dialect, TableLines
from melissa_like.client.readers.table_file import read_table
from melissa_like.client.readers.tail import GrowingText
from melissa_like.errors import SolverError

__all__ = ["TextTables"]


class TextTables:
    """Reads CSV and other tables of numbers.

    A column becomes a field, several columns its components: `velocity: [u, v]`. A column is given by its name in the
    header, which is the last line above the numbers, a comment or not, or by its number, from 0; `*` is the whole
    table, of the shape (rows, columns), and so is a file of its own per field, `{field}` in the pattern. A file is one
    step; or one file grows, row by row, and `rows_per_step` or `step` says which rows are a step.

    Args:
        files: pattern of the names, as `profile_{step}.csv`.
        fields: for each field its column or columns, or where it comes from: name, shape, order, select, axes.
        complete: `next`: a file is complete when the next one is there, and in a table that grows a row with the end of
            its line; `renamed`: a file as soon as it is there; `end`: when the program has ended. The default is
            `next`, and `end` for one file that does not grow.
        time: a column, whose first row in the step counts, the time from one step number to the next, or a list.
        num_ranks: ranks that write a file each: `{rank}` in the pattern; their rows follow one another.
        rows_per_step: of a table that grows: 1 for a row per step.
        step: the column with a step's number, of a table that grows; without `rows_per_step` a step has the rows
            of one number, and is complete when the next number appears.
        delimiter: between two cells; by default the comma, semicolon or tab that is in the first row, or else blanks.
        comments: what a comment begins with.
        skip: lines at the top that are not looked at.
        static: for each static field its columns, or where it comes from: as for `fields`, numbers_from, and file, if
            that is not the one of each step; a table of its own is written as the others are.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        *,
        files: str,
        fields: Any,
        complete: str | None = None,
        time: Any = None,
        num_ranks: int = 1,
        rows_per_step: int | None = None,
        step: Name | None = None,
        delimiter: str | None = None,
        comments: str = "#",
        skip: int = 0,
        static: Any = None,
    ) -> None:
        sources, dialect = sources_of(fields), Dialect(delimiter=delimiter, comments=comments, skip=skip)
        once = StaticSources(static, own_file(partial(read_table, dialect=dialect)), dialect=dialect)
        self._follow: Callable[[Run], Iterator[Found | Beginning]]
        if rows_per_step is None and step is None:
            series = FileSeries(files, sources, complete=complete, time=time, num_ranks=num_ranks, static=once)
            own_files = [name for source in sources.values() for name in source.names] if "{field}" in files else []
            times = [time] if isinstance(time, str) else []
            read = partial(read_table, dialect=dialect, times=times, whole=["*", *own_files])
            self._follow = partial(series.follow, read=read)
        else:
            if num_ranks != 1:
                raise ValueError("a table that grows is one file: with files of several ranks, write one for each step")
            growing = GrowingTable(
                files, sources, dialect, complete=complete, time=time, rows_per_step=rows_per_step, step=step
            )
            once.refuse_beside("and the rows of this table are steps")
            self._follow = lambda run: once.before(run, growing.follow(run))

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            SolverError: nothing found, a file that cannot be read, a column that is not there or holds no numbers.
        """
        return self._follow(run)


class GrowingTable:
    """One table that the program appends to.

    Args:
        file: its name.
        fields: what is read.
        dialect: how it is written.
        complete: `next` or `end`; None: `next`.
        time: as for `Times`; a name is that of a column.
        rows_per_step: rows of each step, if all have as many.
        step: the column with its number, if there is one.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        file: str,
        fields: Mapping[str, Source],
        dialect: Dialect,
        *,
        complete: str | None,
        time: Any,
        rows_per_step: int | None,
        step: Name | None,
    ) -> None:
        if Pattern(file).placeholders or "*" in file:
            raise ValueError(f"rows are steps of one table that grows, and {file!r} are several: write the name of one")
        if rows_per_step is not None and rows_per_step < 1:
            raise ValueError(f"rows_per_step is {rows_per_step}: write 1 or more")
        self._file = file
        self._waits = checked_completion(complete or "next", "next", "end") == "end"
        self._fields = FieldsOfSteps(fields, time)
        self._dialect = dialect
        self._num_rows = rows_per_step
        self._step = step

    def follow(self, run: Run) -> Iterator[Found]:
        """Each step once its rows are there.

        Raises:
            SolverError: nothing found, a file that cannot be read, a column that is not there or holds no numbers.
        """
        names = [*self._fields.names, *self._fields.times, *([] if self._step is None else [self._step])]
        text = GrowingText(run.folder / self._file)
        table = TableLines(self._dialect, names, self._file)
        column = None if self._step is None else len(names) - 1
        steps = RowSteps(num_rows=self._num_rows, column=column, told=self._file)
        before, last, runs = 0, -1, True
        while runs:
            runs = run.wait()
            if runs and self._waits:
                continue
            for number, rows in steps.take(table.take(text.lines(ended=not runs)), ended=not runs):
                step = before if number is None else number
                if step <= last:
                    raise SolverError(f"{self._file}: step {step} follows step {last}: they must grow")
                arrays = dict(zip(names, rows.T, strict=True))
                arrays |= {name: arrays[name][:1] for name in self._fields.times}
                yield self._fields.found(run, arrays, Place(step, before, f"{self._file}, step {step}"))
                before, last = before + 1, step
        if not before:
            raise nothing_found(run.folder, f"rows of numbers in {self._file}")
