"""Tables as text: a file per step, and one that grows while it is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.client.following import ScriptedRun
from melissa_like.client.readers import TextTables
from melissa_like.client.readers.rows import RowSteps
from melissa_like.client.readers.table import Dialect, TableLines
from melissa_like.client.readers.tail import complete_lines
from melissa_like.errors import SolverError
from tests.unit.written import counted, read, writes

ROWS = np.array([[0.0, 1.5, -2.0], [1.0, 2.5, 1e-3]])


@pytest.mark.parametrize(
    "text",
    [
        "x,T,v\n0,1.5,-2\n1,2.5,1e-3\n",
        '"x", "T" ,"v"\n0, 1.5, -2\n\n1, 2.5, 1e-3',
        "# made by hand\n# x T v\n0 1.5 -2\n  1   2.5\t1e-3\n",
        "#x;T;v\r\n0;1.5;-2\r\n# between\r\n1;2.5;1e-3 # behind\r\n",
        "# made by hand\nx\tT\tv\n0\t1.5\t-2\n1\t2.5\t1e-3\n",
        "A title\nx T v\n0 1.5 -2\n1 2.5 1e-3\n",
    ],
)
def test_columns_by_name_and_by_number(text: str) -> None:
    lines = text.splitlines()
    np.testing.assert_array_equal(TableLines(Dialect(), ["v", 1, "x"], "a.csv").take(lines), ROWS[:, [2, 1, 0]])
    np.testing.assert_array_equal(TableLines(Dialect(), ["*"], "a.csv").take(lines), ROWS)
    pieces = TableLines(Dialect(), [-1], "a.csv")
    np.testing.assert_array_equal(np.concatenate([pieces.take([line]) for line in lines]), ROWS[:, 2:])


def test_how_a_table_is_written_may_be_said() -> None:
    dialect = Dialect(delimiter="|", comments="%", skip=2)
    lines = ["9 9 9", "x|y", "% a|b", "1|nan", "-inf|4"]
    np.testing.assert_array_equal(TableLines(dialect, ["b", "a"], "a").take(lines), [[np.nan, 1], [4, -np.inf]])
    for wrong in ({"delimiter": ", "}, {"comments": ""}, {"skip": -1}):
        with pytest.raises(ValueError, match="write one character, what begins a comment, a number of lines"):
            Dialect(**wrong)


@pytest.mark.parametrize(
    ("text", "wanted", "told"),
    [
        ("x,T\n1,2\n", "v", "a.csv has 0 columns 'v': it has x, T; correct fields"),
        ("x,x\n1,2\n", "x", "a.csv has 2 columns 'x'"),
        ("1,2\n", "v", "the column 'v' cannot be found, because its 2 columns have no header of as many names: give"),
        ("a b c\n1,2\n", "a", "have no header of as many names (['a', 'b', 'c'])"),
        ("1,2\n", 2, "a.csv has no column 2: it has 2, numbered from 0"),
        ("x,T\n1,2\n3\n", "T", "a.csv: "),
        ("x,T\n1,2\n3,warm\n", "T", "could not convert string 'warm' to float64"),
        ("x,T\n1,\n3,4\n", "T", "could not convert string '' to float64"),
    ],
)
def test_columns_that_are_not_there(text: str, wanted: Any, told: str) -> None:
    with pytest.raises(SolverError) as caught:
        TableLines(Dialect(), [wanted], "a.csv").take(text.splitlines())
    assert told in str(caught.value)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))), st.data())
def test_lines_are_the_same_in_any_pieces(lines: list[str], data: st.DataObject) -> None:
    content = "\n".join(lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    found, begun = [], b""
    for first, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        new, begun = complete_lines(begun, content[first:end], ended=end == len(content))
        found += new
    found += complete_lines(begun, b"", ended=True)[0]
    assert found == (lines[:-1] if lines and not lines[-1] else lines)


@given(st.lists(st.integers(0, 5)), st.integers(1, 4), st.data())
def test_rows_are_divided_the_same_in_any_pieces(numbers: list[int], size: int, data: st.DataObject) -> None:
    rows = np.array([[float(n), float(k)] for k, n in enumerate(sorted(numbers))]).reshape(len(numbers), 2)
    cut = data.draw(st.integers(0, len(rows)))
    by_number = RowSteps(num_rows=None, column=0, told="a")
    found = [*by_number.take(rows[:cut], ended=False), *by_number.take(rows[cut:], ended=True)]
    assert [number for number, _ in found] == sorted(set(numbers))
    assert all(len(part) == numbers.count(number) for number, part in found)
    by_size = RowSteps(num_rows=size, column=None, told="a")
    whole = rows[: len(rows) // size * size]
    found = [*by_size.take(whole[:cut], ended=False), *by_size.take(whole[cut:], ended=True)]
    np.testing.assert_array_equal(np.array([part for _, part in found]).reshape(whole.shape), whole)


def test_a_file_per_step(tmp_path: Path) -> None:
    acts = []
    for step in range(3):
        rows = "".join(f"{x},{x + step},{-x},{step / 4}\n" for x in range(6))
        acts += writes(tmp_path / f"profile_{step}.csv", f"x,u,v,time\n{rows}".encode(), pieces=3)
    reader = TextTables(files="profile_{step}.csv", fields={"T": "u", "U": ["u", "v"]}, time="time")
    found = read(reader, tmp_path, *acts, shapes={"T": (2, 3), "U": (2, 6)})
    assert [(f.step, f.time) for f in found] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    for each in found:
        np.testing.assert_array_equal(each.fields["T"], each.step + np.arange(6.0).reshape(2, 3))
        np.testing.assert_array_equal(each.fields["U"], [each.step + np.arange(6), -np.arange(6)])


def test_a_table_that_is_the_field(tmp_path: Path) -> None:
    for step in range(2):
        np.savetxt(tmp_path / f"u_{step}.txt", np.full((2, 3), step), header="rows are y")
        np.savetxt(tmp_path / f"v_{step}.txt", np.full(6, -step))
    shapes = {"u": (2, 3), "v": (3, 2)}
    found = read(TextTables(files="{field}_{step}.txt", fields=["u", "v"]), tmp_path, shapes=shapes)
    assert [(f.fields["u"][0, 0], f.fields["v"][0, 0]) for f in found] == [(0, 0), (1, -1)]
    found = read(TextTables(files="u_{step}.txt", fields={"u": "*"}), tmp_path, shapes=shapes)
    assert [f.fields["u"].shape for f in found] == [(2, 3), (2, 3)]


def test_rows_of_ranks_follow_one_another(tmp_path: Path) -> None:
    for rank in (2, 10):
        np.savetxt(tmp_path / f"{rank}_0.txt", [[rank, 1.0], [rank, 2.0]])
    (found,) = read(TextTables(files="{rank}_{step}.txt", fields={"u": 0}, num_ranks=2), tmp_path)
    np.testing.assert_array_equal(found.fields["u"], [2, 2, 10, 10])


HISTORY = "# step time drag lift\n0 0.0 1.5 0.1\n5 0.5 1.25 0.2\n10 1.0 1.125 0.3\n"


@pytest.mark.parametrize(("complete", "first"), [("next", 7), ("end", 12)])
def test_a_row_per_step(tmp_path: Path, complete: str, first: int) -> None:
    """The first row is complete with the seventh of twelve pieces."""
    done: list[int] = []
    acts = writes(tmp_path / "forces.dat", HISTORY.encode(), pieces=12)
    run = ScriptedRun(tmp_path, *(counted(act, done) for act in acts), shapes={"drag": (1,), "forces": (2,)})
    reader = TextTables(
        files="forces.dat",
        fields={"drag": "drag", "forces": ["drag", "lift"]},
        rows_per_step=1,
        step="step",
        time="time",
        complete=complete,
    )
    found = [(len(done), each) for each in reader(run)]
    assert found[0][0] == first
    assert [(f.step, f.time, float(f.fields["drag"][0])) for _, f in found] == [
        (0, 0, 1.5),
        (5, 0.5, 1.25),
        (10, 1, 1.125),
    ]
    np.testing.assert_array_equal(found[1][1].fields["forces"], [1.25, 0.2])


def test_rows_of_one_number_are_a_step(tmp_path: Path) -> None:
    acts = writes(tmp_path / "all.csv", b"n,u\n0,1\n0,2\n1,3\n1,4\n1,5\n", pieces=8)
    found = read(TextTables(files="all.csv", fields=["u"], step="n", time=0.5), tmp_path, *acts)
    assert [(f.step, f.time, f.fields["u"].tolist()) for f in found] == [(0, 0.0, [1, 2]), (1, 0.5, [3, 4, 5])]


@pytest.mark.parametrize(
    ("options", "content", "told"),
    [
        ({}, b"u\n1\n2\n3\n", "a.csv: the last step has 1 rows, where 2 were expected"),
        ({}, b"u\n", "nothing that the reader looks for: rows of numbers in a.csv"),
        ({}, b"u\n1\nx\n", "a.csv: could not convert string 'x' to float64"),
        ({"step": "n"}, b"n,u\n2,1\n2,1\n1,1\n1,1\n", "a.csv: step 1 follows step 2: they must grow"),
        ({"step": "n"}, b"n,u\n.5,1\n.5,1\n", "a.csv: the number of a step is 0.5: a whole number from 0"),
        ({"rows_per_step": None}, b"", "a.csv cannot be read: it has no row of numbers"),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, options: dict[str, Any], content: bytes, told: str) -> None:
    acts = writes(tmp_path / "a.csv", content)
    with pytest.raises(SolverError) as caught:
        read(
            TextTables(**{"files": "a.csv", "fields": ["u"], "rows_per_step": 2, **options}),
            tmp_path,
            *acts,
            shapes={"u": (2,)},
        )
    assert told in str(caught.value)


def test_a_table_that_is_written_anew(tmp_path: Path) -> None:
    acts = [
        lambda: (tmp_path / "a.csv").write_text("1\n2\n") and None,
        lambda: (tmp_path / "a.csv").write_text("1\n") and None,
    ]
    with pytest.raises(SolverError, match=r"a.csv cannot be read: it had 4 bytes and now has 2: it is written anew"):
        read(TextTables(files="a.csv", fields={"u": 0}, rows_per_step=1), tmp_path, *acts)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"files": "a_{step}.csv", "rows_per_step": 1}, "rows are steps of one table that grows, and 'a_{step}.csv'"),
        ({"files": "a.csv", "rows_per_step": 0}, "rows_per_step is 0: write 1 or more"),
        ({"files": "a.csv", "rows_per_step": 1, "num_ranks": 2}, "a table that grows is one file"),
        ({"files": "a.csv", "rows_per_step": 1, "complete": "renamed"}, "complete is 'renamed': write next or end"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        TextTables(**{"fields": ["u"], **options})
    assert told in str(caught.value)
