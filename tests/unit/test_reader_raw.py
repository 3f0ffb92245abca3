"""Raw binary files: layouts, Fortran's records, and a file that grows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import FortranFile

from melissa_like.client.following import ScriptedRun
from melissa_like.client.readers import RawFiles
from melissa_like.client.readers.records import Records
from melissa_like.errors import SolverError
from tests.unit.written import counted, read, writes

U = [np.arange(6.0).reshape(2, 3) + 10 * step for step in range(3)]
SHAPES = {"u": (2, 3)}
LAYOUT = [{"name": "t", "dtype": "float32"}, {"skip": 4}, {"name": "u", "dtype": "float64", "shape": [2, 3]}]


def step_bytes(step: int, sign: str = "<", order: Any = "C") -> bytes:
    time = np.array(step / 4, f"{sign}f4").tobytes()
    return time + b"skip" + U[step].astype(f"{sign}f8").tobytes(order=order)


def assert_found(found: list[Any]) -> None:
    assert [(f.step, f.time) for f in found] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    for each in found:
        np.testing.assert_array_equal(each.fields["u"], U[each.step])


@pytest.mark.parametrize(("sign", "order"), [("<", "C"), (">", "C"), ("<", "F")])
def test_a_file_per_step(tmp_path: Path, sign: str, order: str) -> None:
    acts = [
        act
        for step in range(3)
        for act in writes(tmp_path / f"u{step}.bin", b"header" + step_bytes(step, sign, order), pieces=3)
    ]
    reader = RawFiles(
        files="u{step}.bin",
        layout=[*LAYOUT[:2], {**LAYOUT[2], "order": order}],
        time="t",
        header_bytes=6,
        byte_order="big" if sign == ">" else "little",
    )
    assert_found(read(reader, tmp_path, *acts, shapes=SHAPES))


def test_a_file_per_field(tmp_path: Path) -> None:
    for step, name in [(s, n) for s in range(2) for n in "UV"]:
        (tmp_path / f"{name}{step}.bin").write_bytes(np.full(6, step + ord(name), "<f4").tobytes())
    reader = RawFiles(
        files="{field}{step}.bin", layout=[{"name": "any", "dtype": "float32", "shape": 6}], fields={"u": "U", "v": "V"}
    )
    found = read(reader, tmp_path, shapes=SHAPES)
    assert [(f.fields["u"][1, 1], f.fields["v"][0]) for f in found] == [(85, 86), (86, 87)]
    assert found[0].fields["u"].shape == (2, 3)


def test_a_file_that_grows(tmp_path: Path) -> None:
    """A step counts when something stands behind it: a piece later here."""
    done: list[int] = []
    acts = writes(tmp_path / "all.bin", b"HEAD" + b"".join(step_bytes(step) for step in range(3)), pieces=12)
    run = ScriptedRun(tmp_path, *(counted(act, done) for act in acts), shapes=SHAPES)
    reader = RawFiles(files="all.bin", layout=LAYOUT, time="t", header_bytes=4, repeated=True)
    found = [(len(done), each) for each in reader(run)]
    assert_found([each for _, each in found])
    assert [look for look, _ in found] == [5, 9, 12]
    found = [(0, each) for each in reader(ScriptedRun(tmp_path, shapes=SHAPES))]
    assert_found([each for _, each in found])


@pytest.mark.parametrize(("marker", "header"), [(4, "<u4"), (8, "<u8")])
def test_records_of_a_file_that_grows(tmp_path: Path, marker: int, header: str) -> None:
    with FortranFile(tmp_path / "whole", "w", header_dtype=np.dtype(header)) as file:
        for step in range(3):
            file.write_record(np.array([step / 4, 0], "<f4"))
            file.write_record(U[step])
    acts = writes(tmp_path / "all.bin", (tmp_path / "whole").read_bytes(), pieces=17)
    reader = RawFiles(files="all.bin", layout=LAYOUT, time="t", records=marker, repeated=True)
    assert_found(read(reader, tmp_path, *acts, shapes=SHAPES))


def test_a_record_whose_length_is_written_last(tmp_path: Path) -> None:
    """As GNU Fortran's library does: the length in front is 0 until the record is over, also of a record of zeros."""
    path = tmp_path / "all.bin"
    step = np.zeros(3)
    length = np.array(step.nbytes, "<i4").tobytes()
    acts = [
        lambda: path.write_bytes(bytes(4) + step.tobytes()) and None,
        lambda: path.write_bytes(length + step.tobytes() + length + bytes(4) + (step + 1).tobytes()) and None,
        lambda: path.write_bytes(length + step.tobytes() + 2 * length + (step + 1).tobytes() + length) and None,
    ]
    reader = RawFiles(files="all.bin", layout=[{"name": "u", "shape": [3]}], records=4, repeated=True)
    assert [f.fields["u"].tolist() for f in read(reader, tmp_path, *acts)] == [[0, 0, 0], [1, 1, 1]]


PROGRAM = """
program p
  real(8) :: u(3, 2)
  integer :: step
  open (10, file='all.bin', form='unformatted', access='sequential')
  do step = 0, 2
    u = reshape([0d0, 1d0, 2d0, 3d0, 4d0, 5d0], [3, 2]) + 10 * step
    write (10) real(step, 4) / 4, 0.0
    write (10) u
  end do
end program
"""


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="needs gfortran")
@pytest.mark.parametrize(
    ("option", "marker", "byte_order"),
    [
        ("-frecord-marker=4", 4, "little"),
        ("-frecord-marker=8", 8, "little"),
        ("-fconvert=big-endian", 4, "big"),
        ("-fmax-subrecord-length=24", 4, "little"),
    ],
)
def test_files_of_a_real_compiler(tmp_path: Path, option: str, marker: int, byte_order: str) -> None:
    (tmp_path / "p.f90").write_text(PROGRAM)
    for command in (["gfortran", option, "p.f90", "-o", "p"], ["./p"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    reader = RawFiles(
        files="all.bin",
        layout=[*LAYOUT[:2], {**LAYOUT[2], "shape": [3, 2], "order": "F"}],
        fields={"u": {"name": "u", "axes": [1, 0]}},
        time="t",
        records=marker,
        byte_order=byte_order,
        repeated=True,
    )
    assert_found(read(reader, tmp_path, shapes=SHAPES))


@given(
    st.lists(st.binary(min_size=1, max_size=40)), st.sampled_from([4, 8]), st.sampled_from(["little", "big"]), st.data()
)
def test_records_are_never_taken_half(contents: list[bytes], marker: int, order: Any, data: st.DataObject) -> None:
    lengths = [len(each).to_bytes(marker, order) for each in contents]
    whole = b"".join(length + each + length for length, each in zip(lengths, contents, strict=True))
    there = data.draw(st.integers(0, len(whole)))
    written = Records(marker=marker, byte_order=order)
    found = [*written.complete(memoryview(whole)[:there], ended=False)]
    ends = np.cumsum([len(each) + 2 * marker for each in contents])
    assert [bytes(piece) for piece, _ in found] == contents[: int(np.sum(ends <= there))]
    assert [end for _, end in found] == [int(end) for end in ends if end <= there]


@pytest.mark.parametrize(
    ("options", "content", "told"),
    [
        (
            {},
            step_bytes(0)[:-1],
            "a.bin cannot be read: it has 55 bytes with headers and lengths of records, and these",
        ),
        ({}, step_bytes(0) + b"x", "it has 57 bytes with headers"),
        ({}, step_bytes(0) * 2, "if it holds several steps, write repeated: true"),
        ({"repeated": True}, step_bytes(0) + b"x", "do not come out even with steps of 56 bytes"),
        ({"repeated": True}, b"", "nothing that the reader looks for: steps of 56 bytes in a.bin"),
        ({"records": 4}, step_bytes(0), "a.bin cannot be read: "),
        (
            {"records": 4},
            bytes([4, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]),
            "the length 4 in front and 5 behind it: these are",
        ),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, options: dict[str, Any], content: bytes, told: str) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(SolverError) as caught:
        read(RawFiles(**{"files": "a.bin", "layout": LAYOUT, "fields": ["u"], **options}), tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layout": "u"}, "layout is 'u': write a list of arrays"),
        ({"layout": [{"dtype": "float32"}]}, "layout has {'dtype': 'float32'}: write name, dtype, shape, order"),
        ({"layout": ["u"]}, "layout has 'u': write name, dtype and shape of an array, or skip: BYTES"),
        ({"layout": [{"name": "u", "dtype": "real"}]}, "layout.u.dtype is 'real': write float64"),
        ({"layout": [{"name": "u", "dtype": "object"}]}, "layout.u has dtype object"),
        ({"layout": [{"name": "u", "shape": [-1]}]}, "layout.u has dtype float64, shape [-1]"),
        ({"layout": [{"name": "u"}, {"name": "u"}]}, "layout has 16 bytes and the names u, u: give each its own"),
        ({"byte_order": "native"}, "byte_order is 'native': write little or big"),
        ({"records": 2}, "records is 2: write 4 or 8"),
        ({"fields": ["v"]}, "layout has no array 'v': it has t, u"),
        ({"time": "x"}, "layout has no array 'x': it has t, u"),
        ({"header_bytes": -1}, "header_bytes is -1: write 0 or more"),
        (
            {"files": "a_{step}.bin", "repeated": True},
            "the layout is repeated in one file, and 'a_{step}.bin' are several",
        ),
        ({"num_ranks": 2, "repeated": True}, "a file that grows is one"),
        ({"files": "{field}_{step}.bin"}, "'{field}_{step}.bin' is a file per field: list fields, and one array"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        RawFiles(**{"files": "a.bin", "layout": LAYOUT, **options})
    assert told in str(caught.value)
