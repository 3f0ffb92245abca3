"""Files of which each holds a step, or several: what the readers of such files have in common."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.contents import Contents, ReadFile, Wanted, split
from melissa_like.client.readers.fields import Array, Name, Source
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import nothing_found
from melissa_like.client.readers.once import SameMesh, StaticSources
from melissa_like.client.readers.pattern import Pattern, files_that_match
from melissa_like.client.readers.steps import Completion, StepBook, StepFiles, checked_completion
from melissa_like.errors import SolverError

__all__ = ["FileSeries", "checked_ranks", "completion_of", "paths_of", "told_of"]


class FileSeries:
    """The files of a program, step after step.

    Args:
        files: pattern of their names.
        fields: what is read from them.
        complete: when a file is; None: `next` where the names tell an order, else `end`.
        time: where the physical time is from, as for `Times`.
        num_ranks: that write a file of their own.
        join: how the files of ranks are put together: along this axis, or at the offset of this name in the file.
        step_axis: of the arrays, if a file holds several steps.
        static: what is sent once; None: nothing.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        files: str,
        fields: Mapping[str, Source],
        *,
        complete: str | None = None,
        time: object = None,
        num_ranks: int = 1,
        join: int | str = 0,
        step_axis: int | None = None,
        static: StaticSources | None = None,
    ) -> None:
        self._pattern = Pattern(files)
        self._static = StaticSources() if static is None else static
        if step_axis is not None:
            self._static.refuse_beside("and a file holds several steps, along step_axis")
        if "field" in self._pattern.placeholders:
            self._static.refuse_beside("and each field has a file of its own, {field} in the pattern")
        self._fields = FieldsOfSteps(fields, time)
        self._step_axis = step_axis
        self._complete = completion_of(complete, self._pattern)
        self._num_ranks = checked_ranks(num_ranks, self._pattern)
        self._wanted = Wanted((*self._fields.names, *self._static.names), self._fields.times, join)

    def follow(self, run: Run, read: ReadFile) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            SolverError: nothing found, steps out of order, a file that cannot be read or does not hold the fields, or
                holds another mesh.
        """
        in_names = [*map(str, self._fields.names)] if "field" in self._pattern.placeholders else None
        book = StepBook(complete=self._complete, fields=in_names, num_ranks=self._num_ranks)
        mesh = SameMesh(self._static)
        count, last, runs = 0, -1, True
        while runs:
            runs = run.wait()
            for files in book.take(files_that_match(run.folder, self._pattern), ended=not runs):
                contents = self._wanted.read(run.folder, files, read)
                yield from mesh.look(run, contents.arrays, told_of(files))
                for found in self._steps(run, files, contents, count):
                    if found.step <= last:
                        raise SolverError(f"{told_of(files)}: step {found.step} follows step {last}: they must grow")
                    count, last = count + 1, found.step
                    yield found
        if not count:
            raise nothing_found(run.folder, f"files of the name {self._pattern.text}")

    def _steps(self, run: Run, files: StepFiles, contents: Contents, count: int) -> Iterator[Found]:
        told, time = told_of(files), contents.time if files.time is None else files.time
        parts: list[Mapping[Name, Array]] = [contents.arrays]
        if self._step_axis is not None:
            parts = [*split(contents.arrays, self._step_axis, self._fields.times, told)]
        first = files.step if "step" in self._pattern.placeholders else count
        for number, arrays in enumerate(parts):
            place = Place(step=first + number, before=count + number, time=time, told=told)
            paths = paths_of(run.folder, files) if number == len(parts) - 1 else []
            yield self._fields.found(run, arrays, place, paths)


def completion_of(complete: str | None, pattern: Pattern) -> Completion:
    """The option `complete`, or its default.

    Raises:
        ValueError: none that there is, or none for names without an order.
    """
    if complete is None:
        return "next" if pattern.is_ordered else "end"
    checked = checked_completion(complete)
    if checked == "next" and not pattern.is_ordered:
        raise ValueError(
            f"complete is 'next', but the pattern {pattern.text!r} says of no file which is the next: write {{step}} "
            "where the number of the step stands, {time} where the time stands, or {order} for names that are sorted"
        )
    return checked


def checked_ranks(num_ranks: int, pattern: Pattern) -> int:
    """The option `num_ranks`.

    Raises:
        ValueError: it does not go with the pattern.
    """
    if (num_ranks > 1) != ("rank" in pattern.placeholders):
        raise ValueError(
            f"num_ranks is {num_ranks}, and the pattern {pattern.text!r} {'has' if num_ranks == 1 else 'lacks'} the "
            "placeholder {rank}: files of several ranks need both"
        )
    return num_ranks


def told_of(files: StepFiles) -> str:
    """The name of its file, or of the first of several, for messages."""
    names = sorted(files.files.values())
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def paths_of(folder: Path, files: StepFiles) -> list[Path]:
    """All files of a step."""
    return [folder / name for name in files.files.values()]
