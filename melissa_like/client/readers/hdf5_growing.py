"""HDF5 files that grow while they are read: one writer, several readers (SWMR)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from melissa_like.client.following import Found, Run
from melissa_like.client.readers.contents import Contents, Wanted
from melissa_like.client.readers.fields import Array, Name, Source
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import UnreadableFileError, nothing_found
from melissa_like.client.readers.hdf5_file import open_hdf5, value_of, whole
from melissa_like.client.readers.pattern import Pattern, files_that_match
from melissa_like.client.readers.series import checked_ranks, paths_of, told_of
from melissa_like.client.readers.steps import StepBook, StepFiles, checked_completion
from melissa_like.errors import SolverError

__all__ = ["GrowingDatasets"]


class GrowingDatasets:
    """One file, or one per rank, whose datasets grow along an axis, a step at a time.

    A writer makes a dataset longer first and fills it then, so a step is complete when all datasets are longer.

    Args:
        files: pattern of the file's name.
        fields: what is read.
        complete: `next` or `end`; None: `next`.
        time: as for `Times`; a name is that of a dataset with one value per step.
        num_ranks: that write a file of their own.
        join: how their datasets are put together.
        step_axis: along which they grow, from 0.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        files: str,
        fields: Mapping[str, Source],
        *,
        complete: str | None = None,
        time: Any = None,
        num_ranks: int = 1,
        join: int | str = 0,
        step_axis: int = 0,
    ) -> None:
        self._pattern = Pattern(files)
        if self._pattern.is_ordered:
            raise ValueError(f"swmr is for a file that grows, and {files!r} are several: write the name of one")
        self._waits = checked_completion(complete or "next", "next", "end") == "end"
        self._num_ranks = checked_ranks(num_ranks, self._pattern)
        self._fields = FieldsOfSteps(fields, time)
        self._wanted = Wanted(self._fields.names, self._fields.times, join)
        self._axis = step_axis

    def follow(self, run: Run) -> Iterator[Found]:
        """Each step, once the next has begun.

        Raises:
            SolverError: nothing found, or a file that cannot be read or lacks a dataset.
        """
        count, runs = 0, True
        while runs:
            runs = run.wait()
            if runs and self._waits:
                continue
            listing = files_that_match(run.folder, self._pattern)
            files = StepBook(complete="renamed", num_ranks=self._num_ranks).take(listing, ended=not runs)
            length = min((self._length(path, runs) for each in files for path in paths_of(run.folder, each)), default=0)
            for step in range(count, length - 1 if runs else length):
                yield self._found(run, files[0], step, last=not runs and step == length - 1, swmr=runs)
                count = step + 1
        if not count:
            raise nothing_found(run.folder, f"steps along axis {self._axis} of the datasets in {self._pattern.text}")

    def _length(self, path: Path, runs: bool) -> int:
        """Steps that all datasets of a file have."""
        try:
            with open_hdf5(path, swmr=runs) as file:
                return min(self._steps_in(file, name, path) for name in (*self._fields.names, *self._fields.times))
        except UnreadableFileError:
            if not runs:
                raise
            return 0  # the program has made the file and does not share it yet

    def _steps_in(self, file: Any, name: Name, path: Path) -> int:
        shape: tuple[int, ...] = value_of(file, name, path).shape
        axis = self._axis_of(name)
        if axis >= len(shape):
            raise SolverError(f"{path}: there is no axis {axis} for the steps in {name!r} {list(shape)}")
        return shape[axis]

    def _axis_of(self, name: Name) -> int:
        return 0 if name in self._fields.times else self._axis

    def _found(self, run: Run, files: StepFiles, step: int, *, last: bool, swmr: bool) -> Found:
        def read(path: Path, names: Sequence[Name]) -> Contents:
            with open_hdf5(path, swmr=swmr) as file:
                return Contents({name: self._read(file, name, path, step) for name in names})

        arrays = self._wanted.read(run.folder, files, read).arrays
        place = Place(step, step, f"{told_of(files)}, step {step}")
        return self._fields.found(run, arrays, place, paths_of(run.folder, files) if last else [])

    def _read(self, file: Any, name: Name, path: Path, step: int) -> Array:
        """One step of a dataset that grows; all of another, which is the offset of a rank."""
        value = value_of(file, name, path)
        if name not in (*self._fields.names, *self._fields.times):
            return whole(value, path)
        return whole(value, path, (slice(None),) * self._axis_of(name) + (step,))
