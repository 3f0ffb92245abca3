"""Lines that a program prints, or writes into a log, become steps."""

from pathlib import Path
from typing import Any

import pytest

from melissa_like.client.following import ScriptedRun
from melissa_like.client.readers import PrintedLines
from melissa_like.errors import SolverError
from tests.unit.written import counted, read, writes

ONE = r"^\s*step\s+(?P<step>\d+)\s+t=(?P<time>\S+)\s+drag\s+(?P<drag>\S+)"
SEVERAL = [r"^Time = (?P<time>\S+)", r"Cd += (?P<drag>\S+)", r"U = \((?P<velocity>[^)]*)\)"]
LOG = """starting
Cd = 9
Time = 0.5
  Cd  = 1
  Cd  = 1.5
U = (1 2 3)
Time = 1
Cd = 1.25
U = (4, 5, 6)
"""


def test_a_line_per_step(tmp_path: Path) -> None:
    """A line counts when its end is printed, the last one when the program has ended."""
    printed = ["begin\nstep 0 t=0.0 dr", "ag 1.5\n", "noise\nstep 10 t=0.5 drag 1e-3\nstep 20 t=1", " drag .5"]
    done: list[int] = []
    run = ScriptedRun(tmp_path, *(counted(lambda text=text: text, done) for text in printed), shapes={"drag": (1,)})
    found = [(len(done), f.step, f.time, f.fields["drag"].tolist()) for f in PrintedLines(lines=ONE)(run)]
    assert found == [(2, 0, 0.0, [1.5]), (3, 10, 0.5, [0.001]), (4, 20, 1.0, [0.5])]


def test_several_lines_per_step(tmp_path: Path) -> None:
    """What is printed before the first step is not of it; of two values the last counts."""
    found = read(PrintedLines(lines=SEVERAL), tmp_path, lambda: LOG, shapes={"drag": (1,), "velocity": (3,)})
    assert [(f.step, f.time, f.fields["drag"].tolist(), f.fields["velocity"].tolist()) for f in found] == [
        (0, 0.5, [1.5], [1, 2, 3]),
        (1, 1.0, [1.25], [4, 5, 6]),
    ]


def test_lines_of_a_log(tmp_path: Path) -> None:
    acts = writes(tmp_path / "logs/run.log", LOG.encode(), pieces=7)
    found = read(PrintedLines(lines=SEVERAL, file="logs/run.log"), tmp_path, *acts)
    assert [f.fields["drag"].tolist() for f in found] == [[1.5], [1.25]]
    found = read(PrintedLines(lines=r"Cd += (?P<drag>\S+)", file="logs/run.log", time=[0, 1, 2, 3]), tmp_path)
    assert [(f.step, f.time, f.fields["drag"][0]) for f in found] == [(0, 0, 9), (1, 1, 1), (2, 2, 1.5), (3, 3, 1.25)]


@pytest.mark.parametrize(
    ("options", "printed", "told"),
    [
        ({}, "hello\nworld", "no line of what it printed matches '^\\\\s*step"),
        ({}, "hello\nworld", "the last lines are: hello; world"),
        ({"file": "run.log"}, "hello", "no line of run.log matches"),
        ({}, "step 0 t=0 drag none", "the group 'drag' has found 'none', which is no number"),
        ({}, "step 3 t=0 drag 1\nstep 2 t=1 drag 1", "step 2 is printed after step 3: they must grow"),
        ({}, "step 3 t=1,2 drag 1", "the group 'time' has found '1,2': one number is needed"),
        ({"lines": r"(?P<step>\S+) (?P<u>\S+)"}, "1.5 2", "the group 'step' has found '1.5': a whole number from 0"),
        (
            {"lines": SEVERAL},
            "Time = 1\nU = (1 2 3)\nTime = 2",
            "a step that began with '^Time =",
        ),
        ({}, "step 0 t=0 drag 1,2", "field 'drag' in step 0 of what was printed: received 2 values, of shape [2]; exp"),
    ],
)
def test_what_a_program_may_print(tmp_path: Path, options: dict[str, Any], printed: str, told: str) -> None:
    with pytest.raises(SolverError) as caught:
        read(PrintedLines(**{"lines": ONE, **options}), tmp_path, lambda: printed, shapes={"drag": (1,)})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("(?P<a", "lines has '(?P<a', which is no regular expression: missing"),
        (r"step (?P<step>\d+)", "which names no field: write (?P<NAME>...) around its numbers"),
        ([], "which names no field"),
    ],
)
def test_expressions_that_are_none(lines: Any, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        PrintedLines(lines=lines)
    assert told in str(caught.value)
