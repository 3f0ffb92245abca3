"""Which steps are complete, decided from the names of the files that are there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from melissa_like.client.readers.pattern import Key, Placed
from melissa_like.errors import SolverError

__all__ = ["Completion", "StepBook", "StepFiles", "Stream", "checked_completion"]

#: When a file is complete: it appears under its name by being renamed; the next one has begun; the program has ended.
Completion = Literal["renamed", "next", "end"]
#: Field and rank of a file; None for what its name does not tell.
Stream = tuple[str | None, int | None]


def checked_completion(complete: str, *allowed: Completion) -> Completion:
    """The value of the option `complete`.

    Raises:
        ValueError: it is none of those that are allowed.
    """
    for known in allowed or get_args(Completion):
        if complete == known:
            return known
    raise ValueError(f"complete is {complete!r}: write {' or '.join(allowed or get_args(Completion))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFiles:
    """The files of a complete step.

    Attributes:
        step: its number: that in the names, or how many steps came before it.
        before: how many steps came before it.
        time: physical time, if the names tell it.
        files: names by field and rank.
    """

    step: int
    before: int
    time: float | None
    files: Mapping[Stream, str]


class StepBook:
    """Takes listings of the folder, and gives each step once: in order, when all its files are there and complete.

    Files of one field and rank are a *stream*, which the program writes one after the other. With `next`, a file is
    complete when a later one of its stream is there: another rank may be ahead.

    Args:
        complete: when a file counts as complete.
        fields: names in the file names; None if they hold none.
        num_ranks: files of each field and step.
        what: is listed, for messages.
    """

    def __init__(
        self,
        *,
        complete: Completion,
        fields: Iterable[str] | None = None,
        num_ranks: int = 1,
        what: str = "files",
    ) -> None:
        self._complete = complete
        self._fields: frozenset[str | None] = frozenset([None] if fields is None else fields)
        self._num_ranks = num_ranks
        self._what = what
        self._taken: set[Key] = set()
        self._last: Key | None = None

    @property
    def num_taken(self) -> int:
        """Steps given so far."""
        return len(self._taken)

    def take(self, listing: Iterable[Placed], *, ended: bool) -> list[StepFiles]:
        """The steps that are complete and were not given before.

        Args:
            listing: all matching files, in any order; those of steps given before may be gone.
            ended: the program has ended, so nothing will be added.

        Raises:
            SolverError: a step before one that was given; a file too many; at the end, a file too few.
        """
        new: dict[Key, dict[Stream, Placed]] = defaultdict(dict)
        newest: dict[Stream, Key] = {}
        for placed in listing:
            if placed.field not in self._fields:
                continue
            stream = (placed.field, placed.rank)
            newest[stream] = max(newest.get(stream, placed.key), placed.key)
            if placed.key not in self._taken:
                _put(new[placed.key], stream, placed)
        given = []
        for key in sorted(new):
            files = new[key]
            self._refuse_earlier(key, files)
            if not ended and not self._is_complete(key, files, newest):
                break
            self._refuse_missing(files)
            given.append(self._step(key, files))
        return given

    def _is_complete(self, key: Key, files: Mapping[Stream, Placed], newest: Mapping[Stream, Key]) -> bool:
        if self._complete == "end" or len(files) < len(self._fields) * self._num_ranks:
            return False
        return self._complete == "renamed" or all(newest[stream] > key for stream in files)

    def _step(self, key: Key, files: Mapping[Stream, Placed]) -> StepFiles:
        any_file, before = next(iter(files.values())), len(self._taken)
        self._taken.add(key)
        self._last = key
        return StepFiles(
            step=before if any_file.step is None else any_file.step,
            before=before,
            time=any_file.time,
            files={stream: placed.name for stream, placed in files.items()},
        )

    def _refuse_earlier(self, key: Key, files: Mapping[Stream, Placed]) -> None:
        if self._last is not None and key < self._last:
            name = next(iter(files.values())).name
            raise SolverError(
                f"{name} has appeared after the {self._what} of a later step, which is sent already: the names must "
                "grow with the steps; if the program writes them in another order, write `complete: end`"
            )

    def _refuse_missing(self, files: Mapping[Stream, Placed]) -> None:
        """Count the files of each field of a step."""
        for field in sorted(self._fields, key=str):
            there = sorted(placed.name for (of, _), placed in files.items() if of == field)
            if len(there) != self._num_ranks:
                beside = there or sorted(placed.name for placed in files.values())
                raise SolverError(
                    f"a step has {len(there)} {self._what}{'' if field is None else f' of {field!r}'} where "
                    f"{self._num_ranks} were expected: there {'is' if len(beside) == 1 else 'are'} "
                    f"{', '.join(beside[:8])}{', ...' if len(beside) > 8 else ''}; correct num_ranks or fields, if it "
                    "is not the program that left some out"
                )


def _put(files: dict[Stream, Placed], stream: Stream, placed: Placed) -> None:
    there = files.setdefault(stream, placed)
    if there is not placed:
        first, second = sorted([there.name, placed.name])
        raise SolverError(
            f"{first} and {second} are of the same step: write a pattern that only one of them matches, with {{step}}, "
            "{order} or {time} where the names of the steps differ"
        )
