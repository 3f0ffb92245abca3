"""NPY and NPZ files of a program that writes them piece by piece."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like.client.following import Found, ScriptedRun
from melissa_like.client.readers import NpyFiles
from melissa_like.errors import SolverError
from tests.unit.written import bytes_of, counted, read, renames, writes

U = [np.arange(6.0).reshape(2, 3) + 10 * step for step in range(4)]
V = [np.arange(3.0) - step for step in range(4)]
SHAPES = {"u": (2, 3), "v": (3,)}


def npy(array: Any) -> bytes:
    return bytes_of(lambda file: np.save(file, array))


def npz(**arrays: Any) -> bytes:
    return bytes_of(lambda file: np.savez(file, **arrays))


def assert_found(found: list[Found], steps: int = 3, **expected: list[np.ndarray]) -> None:
    assert [f.step for f in found] == [*range(steps)]
    for each in found:
        assert each.fields.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(each.fields[name], values[each.step])


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    acts = [act for step in range(3) for act in writes(tmp_path / f"out/u_{step}.npy", npy(U[step]), pieces=3)]
    found = read(NpyFiles(files="out/u_{step}.npy", fields=["u"]), tmp_path, *acts, shapes=SHAPES)
    assert_found(found, u=U)
    assert [f.files for f in found] == [[tmp_path / f"out/u_{step}.npy"] for step in range(3)]


@pytest.mark.parametrize(("complete", "looks"), [("renamed", [3, 6, 9]), ("next", [6, 9, 9]), ("end", [9, 9, 9])])
def test_a_step_comes_as_soon_as_it_is_complete(tmp_path: Path, complete: str, looks: list[int]) -> None:
    """Two pieces under another name and the renaming of each file: nine looks."""
    acts = [act for step in range(3) for act in renames(tmp_path / f"u_{step}.npy", npy(U[step]))]
    done: list[int] = []
    run = ScriptedRun(tmp_path, *(counted(act, done) for act in acts))
    reader = NpyFiles(files="u_{step}.npy", fields="u", complete=complete)
    assert [len(done) for _ in reader(run)] == looks


def test_a_file_per_field_and_step(tmp_path: Path) -> None:
    acts = []
    for step in range(3):
        acts += writes(tmp_path / f"U.{step:03d}.npy", npy(U[step]))
        acts += writes(tmp_path / f"V.{step:03d}.npy", npy(V[step]))
        acts += writes(tmp_path / f"W.{step:03d}.npy", b"what nobody reads")
    reader = NpyFiles(files="{field}.{step}.npy", fields={"u": "U", "v": "V"}, time=0.5)
    found = read(reader, tmp_path, *acts, shapes=SHAPES)
    assert_found(found, u=U, v=V)
    assert [f.time for f in found] == [0.0, 0.5, 1.0]
    assert {path.name for f in found for path in f.files} == {f"{n}.00{s}.npy" for n in "UV" for s in range(3)}


def test_arrays_of_an_archive_with_their_time(tmp_path: Path) -> None:
    acts = [
        act
        for step in range(3)
        for act in writes(tmp_path / f"s{step}.npz", npz(U=np.moveaxis(U[step], 0, 1), v=V[step], t=step / 4))
    ]
    reader = NpyFiles(files="s{order}.npz", fields={"u": {"name": "U", "axes": [1, 0]}, "v": None}, time="t")
    found = read(reader, tmp_path, *acts, shapes=SHAPES)
    assert_found(found, u=U, v=V)
    assert [f.time for f in found] == [0.0, 0.25, 0.5]


def test_all_steps_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "all.npy").write_bytes(npy(np.stack(U, axis=-1)))
    found = read(NpyFiles(files="all.npy", fields=["u"], step_axis=-1, time=[1, 2, 4, 8]), tmp_path, shapes=SHAPES)
    assert_found(found, steps=4, u=U)
    assert [f.time for f in found] == [1, 2, 4, 8]
    assert [len(f.files) for f in found] == [0, 0, 0, 1]


def test_several_steps_in_each_file(tmp_path: Path) -> None:
    for first in (0, 2):
        times = np.array([first, first + 1]) / 8
        (tmp_path / f"from_{first}.npz").write_bytes(npz(u=np.stack(U[first : first + 2]), t=times))
    for files in ("from_{step}.npz", "from_{order}.npz"):
        found = read(NpyFiles(files=files, fields=["u"], step_axis=0, time="t"), tmp_path, shapes=SHAPES)
        assert_found(found, steps=4, u=U)
        assert [f.time for f in found] == [0.0, 0.125, 0.25, 0.375]


def test_pieces_of_ranks(tmp_path: Path) -> None:
    acts = []
    for step in range(3):
        for rank, columns in enumerate([slice(0, 2), slice(2, 3)]):
            content = npz(u=U[step][:, columns], first=[0, columns.start])
            acts += writes(tmp_path / f"rank{rank}/{step}.npz", content)
    for join in (1, "first"):
        reader = NpyFiles(files="rank{rank}/{step}.npz", fields=["u"], num_ranks=2, join=join)
        assert_found(read(reader, tmp_path, *acts, shapes=SHAPES), u=U)
        acts = []


def test_a_result_without_steps(tmp_path: Path) -> None:
    acts = writes(tmp_path / "drag.npy", npy(0.25))
    (found,) = read(NpyFiles(files="drag.npy", fields=["drag"]), tmp_path, *acts, shapes={"drag": (1,)})
    assert found.step == 0
    assert found.fields["drag"] == [0.25]


@pytest.mark.parametrize(
    ("files", "content", "told"),
    [
        ("u_{step}.npy", {}, "the reader looks for: files of the name u_{step}.npy; its folder"),
        ("u_{step}.npy", {"run.log": b"", "out/U_1.npy": b""}, "holds run.log, out/U_1.npy"),
        ("u_{step}.npy", {"u_1.npy": npy(U[1])[:-8]}, "u_1.npy cannot be read: "),
        ("u_{step}.npy", {"u_1.npy": b""}, "u_1.npy cannot be read: No data left in file"),
        ("u_{step}.npy", {"u_1.npy": b"1.0 2.0"}, "u_1.npy cannot be read: "),
        ("u_{step}.npz", {"u_1.npz": npz(u=U[1])[:-30]}, "u_1.npz cannot be read: File is not a zip file"),
        ("u_{step}.npz", {"u_1.npz": npz(w=V[1], x=V[1])}, "u_1.npz has no array 'u': it has w, x; correct fields"),
        ("u_{step}.npy", {"u_1.npy": npy(np.array([{}]))}, "u_1.npy cannot be read: Object arrays cannot be loaded"),
        (
            "u_{step}.npy",
            {"u_1.npy": npy(U[1].T)},
            "field 'u' in u_1.npy: received 6 values, of shape [3, 2]",
        ),
        ("u_{step}.npy", {"u_1.npy": npy(np.stack(U))}, "say along which axis: step_axis: 0"),
        ("u*.npy", {"u_1.npy": npy(U[1]), "u_2.npy": npy(U[1])}, "u_1.npy and u_2.npy are of the same step"),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, files: str, content: dict[str, bytes], told: str) -> None:
    for name, written in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(written)
    with pytest.raises(SolverError) as caught:
        read(NpyFiles(files=files, fields=["u"]), tmp_path, shapes=SHAPES)
    assert told in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "_1.npy" in str(caught.value)


def test_steps_that_overlap(tmp_path: Path) -> None:
    for first in (0, 2):
        (tmp_path / f"from_{first}.npy").write_bytes(npy(np.stack(U[:3])))
    with pytest.raises(SolverError, match=r"from_2.npy: step 2 follows step 2: they must grow"):
        read(NpyFiles(files="from_{step}.npy", fields=["u"], step_axis=0), tmp_path, shapes=SHAPES)
    with pytest.raises(SolverError, match=r"there is no axis 3 for the steps in 'u' \[3, 2, 3\]: correct step_axis"):
        read(NpyFiles(files="from_{step}.npy", fields=["u"], step_axis=3), tmp_path, shapes=SHAPES)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"files": "u.npy", "complete": "next"}, "the pattern 'u.npy' says of no file which is the next: write {step}"),
        ({"files": "u_*.npy", "complete": "soon"}, "complete is 'soon': write renamed or next or end"),
        ({"files": "u_{step}_{rank}.npy"}, "num_ranks is 1, and the pattern 'u_{step}_{rank}.npy' has the placeholder"),
        ({"files": "u_{step}.npy", "num_ranks": 2}, "num_ranks is 2, and the pattern 'u_{step}.npy' lacks the"),
        ({"files": "u_{step}.npy", "fields": ["u", "v"]}, "is one array for 2 fields: write {field} in the pattern"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        NpyFiles(**{"fields": ["u"], **options})
    assert told in str(caught.value)
