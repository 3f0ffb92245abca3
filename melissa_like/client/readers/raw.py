"""Raw binary files, whose layout is described, and Fortran's unformatted files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import Name, Source, sources_of
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import nothing_found, wrong_file
from melissa_like.client.readers.layout import RawLayout
from melissa_like.client.readers.once import StaticSources
from melissa_like.client.readers.pattern import Pattern
from melissa_like.client.readers.records import Records
from melissa_like.client.readers.series import FileSeries
from melissa_like.client.readers.steps import checked_completion
from melissa_like.client.readers.stream import GrowingBytes
from melissa_like.errors import SolverError

__all__ = ["RawFiles"]


class RawFiles:
    """Reads binary files of a known layout: of C's `fwrite`, of Fortran's `stream`, `direct` and `sequential` access.

    `layout` lists the arrays of a step in the order in which they lie in the file, as
    `{name: u, dtype: float64, shape: [64, 64], order: F}`; without `shape` it is one number, and `{skip: 16}` are bytes
    that nobody wants. Nothing may stand behind them: else the file is not what it is taken for.

    Args:
        files: pattern of the names, as `out/u{step}.bin`.
        layout: of one step.
        fields: for each field the name of its array, or where it comes from: name, shape, order, select, axes; None:
            all arrays under their names.
        complete: `next`: a file is complete when the next one is there, and a step of a file that grows when something
            stands behind it; `renamed`: a file as soon as it is there; `end`: when the program has ended. The default
            is `next`, and `end` for one file that does not grow.
        time: name of the time in the layout, the time from one step number to the next, or a list of times.
        num_ranks: ranks that write a file each: `{rank}` in the pattern.
        join: the axis along which the arrays of the ranks follow one another, or the name of the offset in the layout.
        header_bytes: that are passed over at the beginning of each file.
        records: bytes of the lengths around each record of a Fortran file, 4 with most compilers; None: no records.
        byte_order: `little` or `big`.
        repeated: one file grows, and has the layout again for each step.
        static: for each static field the name of its array in the layout, or where it comes from: as for `fields`,
            numbers_from, and file, one that is not raw.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        *,
        files: str,
        layout: Any,
        fields: Any = None,
        complete: str | None = None,
        time: Any = None,
        num_ranks: int = 1,
        join: int | str = 0,
        header_bytes: int = 0,
        records: int | None = None,
        byte_order: str = "little",
        repeated: bool = False,
        static: Any = None,
    ) -> None:
        described, once = RawLayout(layout, byte_order), StaticSources(static)
        texts = [*(text for text in (time, join) if isinstance(text, str)), *once.names]
        sources = sources_of([name for name in described.names if name not in texts] if fields is None else fields)
        own_files = "{field}" in files
        if not own_files:
            _refuse_unknown(described, [*texts, *(name for source in sources.values() for name in source.names)])
        elif fields is None or len(described.names) != 1:
            raise ValueError(f"{files!r} is a file per field: list fields, and one array under layout")
        if header_bytes < 0:
            raise ValueError(f"header_bytes is {header_bytes}: write 0 or more")
        open_bytes = partial(
            GrowingBytes,
            header_bytes=header_bytes,
            records=None if records is None else Records(marker=records, byte_order=described.byte_order),
        )
        self._follow: Callable[[Run], Iterator[Found | Beginning]]
        if not repeated:
            series = FileSeries(
                files, sources, complete=complete, time=time, num_ranks=num_ranks, join=join, static=once
            )
            read = partial(read_raw, layout=described, open_bytes=open_bytes, own_files=own_files)
            self._follow = partial(series.follow, read=read)
        else:
            if num_ranks != 1:
                raise ValueError("a file that grows is one: with files of several ranks, write one for each step")
            once.refuse_beside("and the layout is repeated for each step")
            growing = _Repeated(files, sources, described, open_bytes, complete=complete, time=time)
            self._follow = lambda run: once.before(run, growing.follow(run))

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            SolverError: nothing found, or a file that cannot be read or is longer or shorter than the layout.
        """
        return self._follow(run)


def read_raw(
    path: Path,
    names: Sequence[Name],
    *,
    layout: RawLayout,
    open_bytes: Callable[[Path], GrowingBytes],
    own_files: bool = False,
) -> Contents:
    """All arrays of a complete file that holds one step.

    Args:
        path: of the file.
        names: of arrays.
        layout: of the file.
        open_bytes: passes over its header, and takes the lengths of records away.
        own_files: its only array is of this name, whatever that in the layout is.

    Raises:
        SolverError: the file cannot be read, or is longer or shorter than the layout.
    """
    file = open_bytes(path)
    content = file.take(layout.nbytes, ended=True)
    more = file.take(1, ended=True)
    if content is None or more is not None or file.num_left:
        raise _wrong_size(path, layout, several=more is not None)
    arrays = layout.arrays(content)
    return Contents({names[0]: arrays[layout.names[0]]} if own_files else arrays)


class _Repeated:
    """One file in which a layout stands again and again, a step each time."""

    def __init__(
        self,
        file: str,
        fields: Mapping[str, Source],
        layout: RawLayout,
        open_bytes: Callable[[Path], GrowingBytes],
        *,
        complete: str | None,
        time: Any,
    ) -> None:
        if Pattern(file).placeholders or "*" in file:
            raise ValueError(f"the layout is repeated in one file, and {file!r} are several: write the name of one")
        self._file = file
        self._layout = layout
        self._open = open_bytes
        self._waits = checked_completion(complete or "next", "next", "end") == "end"
        self._fields = FieldsOfSteps(fields, time)

    def follow(self, run: Run) -> Iterator[Found]:
        """Each step once something stands behind it."""
        file = self._open(run.folder / self._file)
        step, runs = 0, True
        while runs:
            runs = run.wait()
            if runs and self._waits:
                continue
            while (content := file.take(self._layout.nbytes, ended=not runs)) is not None:
                place = Place(step, step, f"{self._file}, step {step}")
                yield self._fields.found(run, self._layout.arrays(content), place)
                step += 1
        if file.num_left:
            raise _wrong_size(run.folder / self._file, self._layout, several=False)
        if not step:
            raise nothing_found(run.folder, f"steps of {self._layout.nbytes} bytes in {self._file}")


def _wrong_size(path: Path, layout: RawLayout, *, several: bool) -> SolverError:
    try:
        size = path.stat().st_size
    except OSError as error:
        return wrong_file(path, error)
    advice = "; if it holds several steps, write repeated: true" if several else ""
    return wrong_file(
        path,
        f"it has {size} bytes with headers and lengths of records, and these do not come out even with steps of "
        f"{layout.nbytes} bytes: correct layout, header_bytes or records in the options of the reader{advice}",
    )


def _refuse_unknown(layout: RawLayout, names: Sequence[Name]) -> None:
    unknown = [name for name in names if name not in layout.names]
    if unknown:
        raise ValueError(f"layout has no array {unknown[0]!r}: it has {', '.join(layout.names)}")
