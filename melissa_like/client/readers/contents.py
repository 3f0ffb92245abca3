"""What the files of a step hold, put together: by field, by rank, by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from melissa_like.client.readers.fields import Array, Name
from melissa_like.client.readers.joining import along_an_axis, by_offsets
from melissa_like.client.readers.steps import StepFiles
from melissa_like.errors import SolverError

__all__ = ["Contents", "ReadFile", "Wanted", "split"]


class Contents(NamedTuple):
    """Arrays by their names in a file, and the time, if the file tells one under no name."""

    arrays: Mapping[Name, Array]
    time: float | None = None


#: Reads these names from a complete file.
ReadFile = Callable[[Path, Sequence[Name]], Contents]


class Wanted(NamedTuple):
    """What is read of each step.

    Attributes:
        names: of the fields' arrays.
        times: of the array that holds the time, if one does; it is read from the first file.
        join: how the pieces of ranks are put together: along this axis, or at the offset of this name in the file.
    """

    names: Sequence[Name]
    times: Sequence[Name] = ()
    join: int | str = 0

    def read(self, folder: Path, files: StepFiles, read: ReadFile) -> Contents:
        """Read all files of a step.

        Raises:
            SolverError: of `read`, or the pieces of the ranks do not fit together.
        """
        arrays: dict[Name, Array] = {}
        time = None
        in_names = {str(name): name for name in self.names}
        for field in dict.fromkeys(field for field, _ in files.files):
            names = self.names if field is None else [in_names[field]]
            times = self.times if not arrays else ()
            ranks = sorted((rank or 0, name) for (of, rank), name in files.files.items() if of == field)
            pieces = [read(folder / name, [*names, *times, *self._offsets(len(ranks))]) for _, name in ranks]
            arrays |= {name: self._joined(pieces, name, ranks[0][1]) for name in names}
            arrays |= {name: pieces[0].arrays[name] for name in times}
            time = pieces[0].time if time is None else time
        return Contents(arrays, time)

    def _offsets(self, num_pieces: int) -> Sequence[Name]:
        return [self.join] if num_pieces > 1 and isinstance(self.join, str) else []

    def _joined(self, pieces: Sequence[Contents], name: Name, file: str) -> Array:
        arrays = [np.asarray(piece.arrays[name]) for piece in pieces]
        told = f"{name!r} in {file} and those of the other ranks"
        if len(pieces) == 1:
            return pieces[0].arrays[name]
        if isinstance(self.join, str):
            return by_offsets(arrays, [piece.arrays[self.join] for piece in pieces], told)
        return along_an_axis(arrays, self.join, told)


def split(arrays: Mapping[Name, Array], axis: int, times: Sequence[Name], told: str) -> Iterator[Mapping[Name, Array]]:
    """The steps along an axis, one after the other; the times lie along their only axis.

    Raises:
        SolverError: an array without that axis, or of another number of steps.
    """
    axes = {name: 0 if name in times else axis for name in arrays}
    missing = [name for name, array in arrays.items() if not -array.ndim <= axes[name] < array.ndim]
    if missing:
        shapes = ", ".join(f"{name!r} {list(arrays[name].shape)}" for name in missing)
        raise SolverError(f"{told}: there is no axis {axis} for the steps in {shapes}: correct step_axis")
    lengths = {name: array.shape[axes[name]] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise SolverError(f"{told}: the numbers of steps differ: {counted}")
    for step in range(next(iter(lengths.values()))):
        yield {name: np.take(array, step, axes[name]) for name, array in arrays.items()}
