"""Readers of the tests' programs: one file of numbers per time step, complete once the next one is there."""

from collections.abc import Iterator

import numpy as np

from melissa_like.client.following import Found, Run

PATTERN = "{step}.txt"


def numbered(run: Run, *, pattern: str = PATTERN, field: str = "v") -> Iterator[Found]:
    step, runs = 0, True
    while runs:
        runs = run.wait()
        while (file := run.folder / pattern.format(step=step)).exists():
            if runs and not (run.folder / pattern.format(step=step + 1)).exists():
                break
            yield Found(step, {field: np.loadtxt(file, ndmin=1)}, files=[file])
            step += 1


def printed(run: Run, *, field: str = "v") -> Iterator[Found]:
    step, runs = 0, True
    while runs:
        runs = run.wait()
        for line in run.lines():
            yield Found(step, {field: np.array(line.split(), dtype=float)}, time=0.5 * step)
            step += 1


def once(run: Run) -> Iterator[Found]:
    """Has all that it wants before the program ends."""
    while run.wait() and not (run.folder / "0.txt").exists():
        pass
    yield Found(0, {"v": np.zeros(4)})


def broken(run: Run) -> Iterator[Found]:
    _await_end(run)
    yield Found(0, {"v": np.zeros(4)})
    raise ValueError("0.txt has 3 columns")


def pairs(run: Run) -> Iterator[object]:
    _await_end(run)
    yield 0, {"v": np.zeros(4)}


def returns_a_list_of_nothing(run: Run) -> None:
    _await_end(run)


def _await_end(run: Run) -> None:
    while run.wait():
        pass
