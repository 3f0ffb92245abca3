"""What a program prints."""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.fields import Array, Name, Source
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.once import StaticSources
from melissa_like.client.readers.pattern import Pattern
from melissa_like.client.readers.tail import GrowingText
from melissa_like.errors import SolverError

__all__ = ["LineSteps", "PrintedLines"]

_OF_STEPS = ("step", "time")
_LAST_LINES = 5


class LineSteps:
    """Puts the groups of lines together to steps.

    Args:
        expressions: the first begins a step.

    Raises:
        ValueError: one that is no regular expression, or none that names a field.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = [_compiled(text) for text in expressions]
        names = dict.fromkeys(name for each in self._expressions for name in each.groupindex)
        self.fields = [name for name in names if name not in _OF_STEPS]
        if not self.fields:
            raise ValueError(f"lines is {expressions!r}, which names no field: write (?P<NAME>...) around its numbers")
        self._needed = tuple(names)
        self._begun: dict[str, str] | None = None

    def take(self, lines: Sequence[str], *, ended: bool) -> Iterator[Mapping[str, str]]:
        """The groups of each step that the lines complete.

        Raises:
            SolverError: a step that lacks a group.
        """
        for line in lines:
            for number, expression in enumerate(self._expressions):
                found = expression.search(line)
                if found is None:
                    continue
                if number == 0:
                    yield from self._end()
                    self._begun = {}
                if self._begun is not None:
                    self._begun |= {name: text for name, text in found.groupdict().items() if text is not None}
            if len(self._expressions) == 1:
                yield from self._end()
        if ended:
            yield from self._end()

    def _end(self) -> Iterator[Mapping[str, str]]:
        begun, self._begun = self._begun, None
        if begun is None:
            return
        missing = [name for name in self._needed if name not in begun]
        if missing:
            raise SolverError(
                f"a step that began with {self._expressions[0].pattern!r} has no {', '.join(missing)}: it has {begun}; "
                "the first of the expressions is the one that begins a step"
            )
        yield begun


class PrintedLines:
    """Reads lines that the program prints, by regular expressions.

    A named group is a field: `(?P<drag>...)`. It holds one number, or several with blanks or commas between them. The
    groups `step` and `time` are the number of the step, which is counted otherwise, and the physical time.

    With one expression each line that matches is a step. With several, the first begins a step, which is complete when
    the first matches again, or the program has ended; of what is printed more than once in between, the last counts.

    Args:
        lines: regular expressions, searched for in each line.
        file: of the program's folder, whose lines are read instead of those printed.
        time: the time from one step number to the next, or a list of times, where no line tells it.
        static: for each static field where it comes from: file, and name, shape, order, select, axes, numbers_from.

    Raises:
        ValueError: no regular expression, or none that names a field.
    """

    def __init__(
        self, *, lines: str | Sequence[str], file: str | None = None, time: Any = None, static: Any = None
    ) -> None:
        self._lines = [lines] if isinstance(lines, str) else list(lines)
        self._file = None if file is None else Pattern(file).text
        self._fields = FieldsOfSteps({name: Source(names=(name,)) for name in LineSteps(self._lines).fields}, time)
        self._static = StaticSources(static)
        self._static.refuse_beside("and these are lines that the program prints")

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            SolverError: nothing found, a group that holds no numbers, a step that lacks a field, or goes back.
        """
        return self._static.before(run, self._steps(run))

    def _steps(self, run: Run) -> Iterator[Found]:
        text = None if self._file is None else GrowingText(run.folder / self._file)
        steps, last_lines = LineSteps(self._lines), deque[str](maxlen=_LAST_LINES)
        before, last, runs = 0, -1, True
        while runs:
            runs = run.wait()
            lines = run.lines() if text is None else text.lines(ended=not runs)
            last_lines.extend(lines)
            for groups in steps.take(lines, ended=not runs):
                found = self._found(run, groups, before)
                if found.step <= last:
                    raise SolverError(f"step {found.step} is printed after step {last}: they must grow")
                before, last = before + 1, found.step
                yield found
        if not before:
            raise SolverError(
                f"the program has ended, and no line of {self._file or 'what it printed'} matches {self._lines[0]!r}; "
                f"the last lines are: {'; '.join(last_lines) or 'none'}"
            )

    def _found(self, run: Run, groups: Mapping[str, str], before: int) -> Found:
        arrays: dict[Name, Array] = {name: _numbers(name, text) for name, text in groups.items()}
        step = before if "step" not in arrays else _one(arrays["step"], "step", groups)
        time = None if "time" not in arrays else _one(arrays["time"], "time", groups)
        place = Place(_whole(step, groups), before, f"step {step:g} of {self._file or 'what was printed'}", time)
        return self._fields.found(run, arrays, place)


def _numbers(name: str, text: str) -> Array:
    try:
        return np.array([float(number) for number in text.replace(",", " ").split()])
    except ValueError:
        raise SolverError(
            f"the group {name!r} has found {text!r}, which is no number: correct the expression"
        ) from None


def _one(array: Array, name: str, groups: Mapping[str, str]) -> float:
    if array.size != 1:
        raise SolverError(f"the group {name!r} has found {groups[name]!r}: one number is needed")
    return float(array[0])


def _whole(step: float, groups: Mapping[str, str]) -> int:
    if step < 0 or step != int(step):
        raise SolverError(f"the group 'step' has found {groups['step']!r}: a whole number from 0 is needed")
    return int(step)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"lines has {text!r}, which is no regular expression: {error}") from None
