"""HDF5 files: one per step, datasets per step, and one that grows while another process reads it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from melissa_like.client.following import Beginning, ScriptedRun
from melissa_like.client.readers import Hdf5Files, optional
from melissa_like.errors import ConfigurationError, SolverError
from tests.unit.written import Act, bytes_of, counted, read, writes

U = [np.arange(6.0).reshape(2, 3) + 10 * step for step in range(4)]
SHAPES = {"u": (2, 3)}


def hdf5(*, attributes: Any = (), **datasets: Any) -> bytes:
    def write(target: Any) -> None:
        with h5py.File(target, "w") as file:
            for name, values in datasets.items():
                file[name] = values
            for name, value in dict(attributes).items():
                holder, _, attribute = name.rpartition("@")
                (file[holder] if holder else file).attrs[attribute] = value

    return bytes_of(write)


def test_a_file_per_step(tmp_path: Path) -> None:
    acts = [
        act
        for step in range(3)
        for act in writes(
            tmp_path / f"out{step * 5}.h5", hdf5(**{"flow/U": U[step]}, attributes={"flow@time": step / 2}), pieces=3
        )
    ]
    reader = Hdf5Files(files="out{step}.h5", fields={"u": "/flow/U"}, time="flow@time")
    found = read(reader, tmp_path, *acts, shapes=SHAPES)
    assert [(f.step, f.time) for f in found] == [(0, 0.0), (5, 0.5), (10, 1.0)]
    for each, values in zip(found, U, strict=False):
        np.testing.assert_array_equal(each.fields["u"], values)


def test_datasets_per_step(tmp_path: Path) -> None:
    """In the order of their numbers, not of their names; with the time as an attribute of each."""
    datasets = {f"step{step}/U": U[step % 4] for step in (8, 9, 10)}
    attributes = {f"step{step}@t": step / 4 for step in (8, 9, 10)}
    acts = writes(tmp_path / "all.h5", hdf5(**datasets, mesh=np.zeros(3), attributes=attributes))
    reader = Hdf5Files(files="all.h5", fields={"u": "step{step}/U"}, time="step{step}@t")
    found = read(reader, tmp_path, *acts, shapes=SHAPES)
    assert [(f.step, f.time, len(f.files)) for f in found] == [(8, 2.0, 0), (9, 2.25, 0), (10, 2.5, 1)]
    for each in found:
        np.testing.assert_array_equal(each.fields["u"], U[each.step % 4])


@pytest.mark.parametrize("files", ["p{rank}.h5", "p{rank}_{step}.h5"])
@pytest.mark.parametrize("join", [1, "u@first"])
def test_pieces_of_ranks(tmp_path: Path, files: str, join: int | str) -> None:
    inside = "step" not in files
    for rank, columns in enumerate([slice(0, 1), slice(1, 3)]):
        for step in range(2):
            with h5py.File(tmp_path / files.format(rank=rank, step=step), "a") as file:
                name = f"{step}/u" if inside else "u"
                file[name] = U[step][:, columns]
                file[name].attrs["first"] = [0, columns.start]
    name = "{step}/u" if inside else "u"
    if inside and isinstance(join, str):
        join = "{step}/u@first"
    found = read(Hdf5Files(files=files, fields={"u": name}, num_ranks=2, join=join), tmp_path, shapes=SHAPES)
    assert [f.step for f in found] == [0, 1]
    for each in found:
        np.testing.assert_array_equal(each.fields["u"], U[each.step])


WRITER = """
import sys, h5py, numpy as np
path = sys.argv[1]
def make():
    global file, u, t
    file = h5py.File(path, "w", libver="latest")
    u = file.create_dataset("u", (2, 0, 3), maxshape=(2, None, 3), chunks=(2, 1, 3))
    t = file.create_dataset("t", (0,), maxshape=(None,), chunks=(8,))
    file["mesh/points"] = np.arange(4.0)
def share():
    file.swmr_mode = True
def longer():
    u.resize(u.shape[1] + 1, axis=1); t.resize((len(t) + 1,)); u.flush(); t.flush()
def fill():
    step = len(t) - 1
    u[:, step] = np.arange(6.0).reshape(2, 3) + 10 * step; t[step] = step / 4; u.flush(); t.flush()
def close():
    file.close()
for line in sys.stdin:
    globals()[line.strip()]()
    print("done", flush=True)
"""


@contextmanager
def writer(path: Path) -> Iterator[Callable[[str], Act]]:
    """A process that does one of its functions at a time."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def act(name: str) -> Act:
            def do() -> None:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"

            return do

        yield act
    assert process.returncode == 0


@pytest.mark.parametrize(("complete", "looks"), [("next", [5, 7, 9]), ("end", [9, 9, 9])])
def test_a_file_that_grows(tmp_path: Path, complete: str, looks: list[int]) -> None:
    """A step that the writer has made room for, and not filled, is not read."""
    names = ["make", "share", "longer", "fill", "longer", "fill", "longer", "fill", "close"]
    done: list[int] = []
    with writer(tmp_path / "grows.h5") as act:
        run = ScriptedRun(tmp_path, *(counted(act(name), done) for name in names), shapes=SHAPES)
        reader = Hdf5Files(files="grows.h5", fields=["u"], time="t", swmr=True, step_axis=1, complete=complete)
        found = [(len(done), each) for each in reader(run)]
    assert [look for look, _ in found] == looks
    assert [(f.step, f.time, len(f.files)) for _, f in found] == [(0, 0.0, 0), (1, 0.25, 0), (2, 0.5, 1)]
    for _, each in found:
        np.testing.assert_array_equal(each.fields["u"], U[each.step])


@pytest.mark.parametrize("complete", ["next", "end"])
def test_a_file_that_grows_may_hold_what_is_sent_once(tmp_path: Path, complete: str) -> None:
    static = {"x": {"file": "grows.h5", "name": "mesh/points"}}
    reader = Hdf5Files(files="grows.h5", fields=["u"], swmr=True, step_axis=1, complete=complete, static=static)
    with writer(tmp_path / "grows.h5") as act:
        acts = [act(name) for name in ["make", "share", "longer", "fill", "longer", "fill", "close"]]
        beginning, *steps = read(reader, tmp_path, *acts, shapes=SHAPES)
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["x"], np.arange(4.0))
    assert [each.step for each in steps] == [0, 1]


@pytest.mark.parametrize(
    ("options", "content", "told"),
    [
        ({"files": "a.h5"}, hdf5(w=[1.0], **{"g/x": [1.0]}), "a.h5 has no dataset 'u': it has g/x, w; correct fields"),
        ({"files": "a.h5"}, hdf5(u=U[0])[:-100], "a.h5 cannot be read: "),
        ({"files": "a.h5"}, b"", "a.h5 cannot be read: "),
        (
            {"files": "a.h5", "time": "u@t"},
            hdf5(u=U[0], attributes={"@v": 1}),
            "a.h5 has no attribute 'u@t': it has @v",
        ),
        ({"files": "a.h5", "fields": {"u": "g"}}, hdf5(**{"g/x": [1.0]}), "a.h5 has no dataset 'g': it has g/x"),
        ({"files": "b.h5"}, b"", "nothing that the reader looks for: files of the name b.h5"),
        ({"files": "a.h5", "fields": {"u": "{step}/u"}}, hdf5(x=[1.0]), "a.h5 has no dataset '{step}/u': it has x"),
        (
            {"files": "a.h5", "fields": {"u": "{step}/u", "v": "{step}/v"}},
            hdf5(**{"1/u": [1.0], "1/v": [1.0], "2/u": [1.0]}),
            "a step has 0 datasets of '{step}/v' where 1 were expected: there is 2/u",
        ),
        ({"files": "a.h5", "swmr": True}, hdf5(u=1.0), "there is no axis 0 for the steps in 'u' []"),
        ({"files": "a.h5", "swmr": True}, hdf5(u=np.zeros((0, 2, 3))), "looks for: steps along axis 0 of the datasets"),
        ({"files": "a.h5", "swmr": True}, b"", "a.h5 cannot be read: "),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, options: dict[str, Any], content: bytes, told: str) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(SolverError) as caught:
        read(Hdf5Files(**{"fields": ["u"], **options}), tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"files": "a_{step}.h5", "swmr": True}, "swmr is for a file that grows, and 'a_{step}.h5' are several"),
        ({"files": "a.h5", "swmr": True, "complete": "renamed"}, "complete is 'renamed': write next or end"),
        ({"files": "a_{step}.h5", "fields": {"u": "u_{step}"}}, "both the file 'a_{step}.h5' and its datasets say"),
        ({"files": "a.h5", "fields": {"u": "u_{step}"}, "step_axis": 0}, "so there is no step_axis"),
        ({"files": "a.h5", "fields": {"u": "u_{step}", "v": "v"}}, "the dataset 'v' has no number of the step"),
        (
            {"files": "a.h5", "fields": {"u": "u_{step}"}, "complete": "next"},
            "the pattern 'a.h5' says of no file which",
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        Hdf5Files(**{"fields": ["u"], **options})
    assert told in str(caught.value)


def test_a_library_that_is_not_installed() -> None:
    with pytest.raises(ConfigurationError, match="needs the package h6py, which is not installed here: pip install"):
        optional.library("h6py", "Hdf5Files")
