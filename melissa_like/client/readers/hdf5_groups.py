"""HDF5 files in which each step has datasets of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from melissa_like.client.following import Found, Run
from melissa_like.client.readers.contents import Contents, Wanted
from melissa_like.client.readers.fields import Name, Source
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import nothing_found, without
from melissa_like.client.readers.hdf5_file import dataset_names, open_hdf5, read_hdf5
from melissa_like.client.readers.pattern import Pattern, files_that_match
from melissa_like.client.readers.series import checked_ranks, completion_of, paths_of, told_of
from melissa_like.client.readers.steps import StepBook, StepFiles

__all__ = ["NumberedDatasets"]


class NumberedDatasets:
    """One file, or one per rank, with the steps' numbers or times in the names of its datasets.

    HDF5 writes its own tables when it closes a file, so nothing is read before the file is complete.

    Args:
        files: pattern of the file's name.
        fields: whose names are patterns.
        complete: `renamed` or `end`; None: `end`.
        time: as for `Times`; a name is that of one attribute or dataset per step, a pattern too.
        num_ranks: that write a file of their own.
        join: how their datasets are put together; the name of an offset may be one per step too.

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
    ) -> None:
        self._pattern = Pattern(files)
        if self._pattern.is_ordered:
            raise ValueError(f"both the file {files!r} and its datasets say which step: one of them is enough")
        self._complete = completion_of(complete, self._pattern)
        self._num_ranks = checked_ranks(num_ranks, self._pattern)
        self._fields = FieldsOfSteps(fields, time)
        numbered = [*self._fields.names, *self._fields.times, *([join] if "{" in str(join) else [])]
        self._inside = {name: Pattern(str(name).strip("/")) for name in numbered}
        for name, pattern in self._inside.items():
            if not pattern.is_ordered:
                raise ValueError(f"the dataset {name!r} has no number of the step, which others have: write {{step}}")
        self._wanted = Wanted(self._fields.names, self._fields.times, join)

    def follow(self, run: Run) -> Iterator[Found]:
        """Each step, once the file is complete.

        Raises:
            SolverError: nothing found, or a file that cannot be read or lacks a dataset.
        """
        book = StepBook(complete=self._complete, num_ranks=self._num_ranks)
        runs = True
        while runs:
            runs = run.wait()
            for files in book.take(files_that_match(run.folder, self._pattern), ended=not runs):
                yield from self._steps(run, files)
        if not book.num_taken:
            raise nothing_found(run.folder, f"the file {self._pattern.text}")

    def _steps(self, run: Run, files: StepFiles) -> Iterator[Found]:
        paths = paths_of(run.folder, files)
        steps = self._listed(paths[0])
        for number, step in enumerate(steps):
            names = {name: step.files[str(name), None] for name in self._inside}

            def read(path: Path, wanted: Sequence[Name], names: Mapping[Name, str] = names) -> Contents:
                found = read_hdf5(path, [names.get(name, name) for name in wanted])
                return Contents({name: found.arrays[names.get(name, name)] for name in wanted})

            arrays = self._wanted.read(run.folder, files, read).arrays
            place = Place(step.step, step.before, f"{told_of(files)}, step {step.step}", step.time)
            yield self._fields.found(run, arrays, place, paths if number == len(steps) - 1 else [])

    def _listed(self, path: Path) -> list[StepFiles]:
        """The datasets of each step; all ranks have the same."""
        book = StepBook(complete="end", fields=map(str, self._inside), what="datasets")
        with open_hdf5(path) as file:
            names = dataset_names(file, with_attributes=any("@" in str(name) for name in self._inside))
        matching = [
            replace(placed, field=str(name))
            for name, pattern in self._inside.items()
            for placed in map(pattern.match, names)
            if placed is not None
        ]
        if not matching:
            looked_for = " or ".join(pattern.text for pattern in self._inside.values())
            raise without(path, "dataset", looked_for, names)
        return book.take(matching, ended=True)
