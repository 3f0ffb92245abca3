"""The twin of a program's run behaves as readers are promised."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from melissa_like.client.following import Found, Run, ScriptedRun
from melissa_like.errors import SolverError


def _read_when_the_next_is_there(run: Run) -> Iterator[Found]:
    step, runs = 0, True
    while runs:
        runs = run.wait()
        while (file := run.folder / f"{step}.txt").exists():
            if runs and not (run.folder / f"{step + 1}.txt").exists():
                break
            yield Found(step, {"x": np.loadtxt(file, ndmin=1)}, files=[file])
            step += 1


def test_a_reader_sees_each_state_of_the_folder_and_looks_once_more_at_the_end(tmp_path: Path) -> None:
    def begin() -> None:
        (tmp_path / "0.txt").write_text("1")

    def go_on() -> None:
        (tmp_path / "0.txt").write_text("1\n2\n")
        (tmp_path / "1.txt").write_text("3\n4\n")

    found = list(_read_when_the_next_is_there(ScriptedRun(tmp_path, lambda: None, begin, go_on)))
    assert [(one.step, one.fields["x"].tolist()) for one in found] == [(0, [1.0, 2.0]), (1, [3.0, 4.0])]
    assert found[1].files == [tmp_path / "1.txt"]


def test_a_line_counts_when_it_is_complete_and_at_the_end_of_the_program(tmp_path: Path) -> None:
    run = ScriptedRun(tmp_path, lambda: "one\n\ntw", lambda: "o\nthree", lambda: "\n", lambda: "end")
    seen = []
    while run.wait():
        seen.append(run.lines())
    assert seen == [["one", ""], ["two"], ["three"]]
    assert run.lines() == ["end"]
    assert run.lines() == []
    assert not run.wait()


def test_a_program_that_fails_raises_in_wait(tmp_path: Path) -> None:
    def fail() -> None:
        raise SolverError("the program ended with exit code 3")

    run = ScriptedRun(tmp_path, lambda: None, fail)
    assert run.wait()
    with pytest.raises(SolverError, match="exit code 3"):
        run.wait()
