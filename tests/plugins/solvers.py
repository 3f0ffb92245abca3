"""Small solvers with known fields, and solvers that break their contract one rule at a time."""

import contextlib
import ctypes
import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.client import Part


def _rows(comm: Any, num_rows: int) -> tuple[int, int]:
    return comm.rank * num_rows // comm.size, (comm.rank + 1) * num_rows // comm.size


def marked(
    parameters: Mapping[str, float], comm: Any, *, num_steps: int = 6, num_rows: int = 8, columns: int = 4
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every cell of a field is its (parameter, step, row, column) in one exact number."""
    first, last = _rows(comm, num_rows)
    rows, cols = np.mgrid[first:last, 0:columns]
    for step in range(num_steps):
        yield step, {"mark": marks(parameters["number"], step, rows, cols)}


def marks(number: Any, step: Any, rows: Any, cols: Any) -> np.ndarray:
    """Below 2**24 for simulations below 10,000, so exact in float32; 10 steps, 8 rows and 4 columns at most."""
    return ((np.asarray(number) * 10.0 + step) * 8.0 + rows) * 4.0 + cols


def uneven(parameters: Mapping[str, float], comm: Any, *, num_steps: int = 6) -> Iterator[tuple[int, dict[str, Any]]]:
    """Blocks of columns instead of rows, given by their offset."""
    first, last = _rows(comm, 4)
    rows, cols = np.mgrid[0:8, first:last]
    for step in range(num_steps):
        yield step, {"mark": Part(marks(parameters["number"], step, rows, cols), (0, first))}


def vector(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Two components of seven rows and four columns: each number occurs once in a step."""
    first, last = _rows(comm, 7)
    component, row, column = np.mgrid[0:2, first:last, 0:4]
    for step in range(6):
        yield step, {"mark": 1000.0 * component + 100.0 * row + 10.0 * column + step}


def adaptive(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """A number of steps that only the solver knows."""
    yield from marked(parameters, comm, num_steps=2 + int(parameters["number"]) % 3)


def spying(parameters: Mapping[str, float], comm: Any, *, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Writes down what everybody on this machine can see of the processes of its user, and more."""
    yield from marked(parameters, comm)
    with Path(path).open("ab") as stream:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                stream.write((process / "cmdline").read_bytes() + (process / "environ").read_bytes())


def unseen(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The same in processes that nobody but root may inspect (PR_SET_DUMPABLE)."""
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
    yield from marked(parameters, comm)


def dies_once(
    parameters: Mapping[str, float], comm: Any, *, folder: str, num_steps: int = 6
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first attempt of each third simulation dies in the middle of its steps."""
    number = int(parameters["number"])
    for step, fields in marked(parameters, comm, num_steps=num_steps):
        mark = Path(folder) / f"died-{number}"
        if number % 3 == 0 and step == 3 and comm.rank == comm.size - 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        yield step, fields


def raises(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Fails in the second step, as a diverging solver does."""
    yield 0, {"mark": np.zeros((8 // comm.size, 4))}
    raise ArithmeticError("the Newton iteration diverged")


def exits_at_once(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Never yields."""
    sys.stderr.write("no licence for this solver\n")
    sys.stderr.flush()
    os._exit(7)
    yield 0, {}


def undeclared_field(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends what it did not declare."""
    yield 0, {"pressure": np.zeros((8 // comm.size, 4))}


def wrong_dtype(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends complex numbers."""
    yield 0, {"mark": np.zeros((8 // comm.size, 4), dtype=complex)}


def outside(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends a box that leaves the field."""
    yield 0, {"mark": Part(np.zeros((8, 4)), (1, 0))}


def same_box_twice(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every rank sends the first half."""
    for step in range(6):
        yield step, {"mark": Part(np.zeros((4, 4)), (0, 0))}


def too_few_steps(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Ends after three of six steps."""
    yield from marked(parameters, comm, num_steps=3)


def uneven_ends(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The last rank ends a step before the others."""
    yield from marked(parameters, comm, num_steps=6 - (comm.rank == comm.size - 1))


def forgets_to_yield(parameters: Mapping[str, float], comm: Any) -> None:
    """A function that is no generator."""


def interrupts(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Presses Ctrl-C after the first step, where jobs are threads of the launcher, and takes its time."""
    for step, fields in marked(parameters, comm, num_steps=6):
        yield step, fields
        if step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)


def slow(parameters: Mapping[str, float], comm: Any, *, pause_s: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """Takes its time between steps."""
    for step, fields in marked(parameters, comm, num_steps=6):
        time.sleep(pause_s)
        yield step, fields


def gated(parameters: Mapping[str, float], comm: Any, *, gate: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Waits before its last step until a file is there: so a study goes on for as long as a test wants."""
    for step, fields in marked(parameters, comm, num_steps=6):
        while step == 5 and not Path(gate).exists():
            time.sleep(0.02)
        yield step, fields


def not_finite(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Blows up in the last step."""
    for step, fields in marked(parameters, comm, num_steps=6):
        if step == 5:
            fields["mark"][0, 0] = np.nan
        yield step, fields


def sometimes_not_finite(
    parameters: Mapping[str, float], comm: Any, *, value: float = math.nan
) -> Iterator[tuple[int, dict[str, Any]]]:
    """In the fourth simulation one cell of the third step is no number."""
    for step, fields in marked(parameters, comm, num_steps=6):
        if parameters["number"] == 3 and step == 2 and comm.rank == comm.size - 1:
            fields["mark"][-1, 1] = value
        yield step, fields


def numbered(
    parameters: Mapping[str, float], comm: Any, *, first: int = 0, stride: int = 1, num_steps: int = 6
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A field that grows in equal parts, whatever numbers its steps have."""
    values = np.ones((8 // comm.size, 4)) * (0.5 + parameters["number"] / 100)
    for step in range(num_steps):
        yield first + stride * step, {"mark": values * (1 + step) / num_steps}


def gap(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each rank leaves out its last row."""
    rows = 8 // comm.size
    for step in range(6):
        yield step, {"mark": Part(np.zeros((rows - 1, 4)), (comm.rank * rows, 0))}


def sometimes_raises(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The fourth simulation diverges after two steps."""
    for step, fields in marked(parameters, comm, num_steps=6):
        if parameters["number"] == 3 and step == 2:
            raise ArithmeticError("the Newton iteration diverged")
        yield step, fields


def endless(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Goes on until somebody ends it."""
    for step in itertools.count():
        time.sleep(0.01)
        yield step, {"mark": np.zeros((8, 4))}


def hangs_once(parameters: Mapping[str, float], comm: Any, *, folder: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first attempt of the third simulation stands still after two steps."""
    for step, fields in marked(parameters, comm):
        mark = Path(folder) / "hung"
        if parameters["number"] == 2 and step == 2 and not mark.exists():
            mark.touch()
            time.sleep(3600)
        yield step, fields


def swirl(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """A vortex that turns with time and is tilted: a velocity of two components and a pressure on 8 x 8 points."""
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    for step in range(10):
        angle = parameters["tilt"] + 0.1 * step
        along = np.cos(angle) * x + np.sin(angle) * y
        velocity = parameters["strength"] * np.stack([-y + 0.5 * along, x + 0.3 * step * along])
        yield step, {"velocity": velocity, "pressure": along * parameters["tilt"]}
