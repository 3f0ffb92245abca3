"""NumPy's own files."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.fields import sources_of
from melissa_like.client.readers.npy_file import read_npy
from melissa_like.client.readers.once import StaticSources
from melissa_like.client.readers.own_file import own_file
from melissa_like.client.readers.series import FileSeries

__all__ = ["NpyFiles"]


class NpyFiles:
    """Reads NPY and NPZ files.

    An NPY file holds one array: with several fields, each has a file of its own, `{field}` in the pattern. An NPZ file
    holds arrays by name.

    Args:
        files: pattern of the names, as `out/{field}_{step}.npy`.
        fields: a list, or for each field its name in the program, or where it comes from: name, shape, order, select,
            axes.
        complete: `next`: a file is complete when the next one is there; `renamed`: as soon as it is there, because the
            program writes it under another name and renames it; `end`: when the program has ended. The default is
            `next`, and `end` if the names have no order.
        time: name of the time in an NPZ file, the time from one step number to the next, or a list of times.
        num_ranks: ranks that write a file each: `{rank}` in the pattern.
        join: the axis along which the arrays of the ranks follow one another, or the name of the offset in an NPZ file.
        step_axis: of the arrays, if a file holds several steps; the numbers of the steps go on from that of the file.
        static: for each static field its name in the NPZ files, or where it comes from: as for `fields`, numbers_from,
            and file, if that is not the one of each step.

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
        join: int | str = 0,
        step_axis: int | None = None,
        static: Any = None,
    ) -> None:
        sources = sources_of(fields)
        self._series = FileSeries(
            files,
            sources,
            complete=complete,
            time=time,
            num_ranks=num_ranks,
            join=join,
            step_axis=step_axis,
            static=StaticSources(static, own_file(read_npy)),
        )
        self._read = partial(read_npy, mapped=step_axis is not None)
        if files.endswith(".npy") and "{field}" not in files and len(sources) > 1:
            raise ValueError(f"{files!r} is one array for {len(sources)} fields: write {{field}} in the pattern")

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once its files are complete.

        Raises:
            SolverError: nothing found, or a file that cannot be read or lacks a field.
        """
        return self._series.follow(run, self._read)
