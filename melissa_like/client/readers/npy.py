"""NumPy's own files."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import Name, sources_of
from melissa_like.client.readers.folder import without, wrong_file
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
        static: for each static field its name in the NPZ files, or where it comes from, as for `fields`. It lies in the
            file of each step, and stays the same.

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
            static=static,
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


def read_npy(path: Path, names: Sequence[Name], *, mapped: bool = False) -> Contents:
    """The arrays of these names in an NPZ file; that of an NPY file under the first of them.

    Args:
        path: of a complete file: what cuts off a file that is mapped kills the process that reads it.
        names: of arrays.
        mapped: an NPY file is not read at once, but where it is looked at.

    Raises:
        SolverError: no such file, not of this format, cut off, or without one of the arrays.
    """
    try:
        if mapped and path.suffix == ".npy":
            return Contents({names[0]: open_memmap(path, mode="r")})
        with path.open("rb") as file:  # not by its name: numpy leaves a broken archive open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if len(names) > 1:
                    raise wrong_file(
                        path, f"it is one array without a name, and {', '.join(map(str, names))} are needed"
                    )
                return Contents({names[0]: loaded})
            missing = [name for name in names if str(name) not in loaded]
            if missing:
                raise without(path, "array", missing[0], loaded.files)
            return Contents({name: loaded[str(name)] for name in names})
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise wrong_file(path, error) from error
