"""What is sent once in files of its own: any format beside any reader, read when the first step is complete."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from melissa_like.client import readers
from melissa_like.client.beginning import LocalBeginning
from melissa_like.client.following import Beginning, Found
from melissa_like.client.following.mesh import MeshOfRun
from melissa_like.client.readers import Hdf5Files, MeshFiles, NpyFiles, OpenFoamTimes, PrintedLines, TextTables
from melissa_like.client.team import SoloTeam
from melissa_like.errors import SolverError
from melissa_like.records import FieldSpec, Layout
from tests.unit.test_reader_openfoam import field
from tests.unit.written import bytes_of, read

X = np.array([[0.0, 1, 0, 1], [0, 0, 1, 1]])
TRIANGLES = np.array([[0, 1, 2], [1, 3, 2]]).T
T = [np.arange(4.0) + 10 * step for step in range(3)]
SHAPES: Any = {"T": ("num_points",)}
DECLARED: Any = {"x": (2, "num_points"), "triangles": (3, "num_triangles")}
#: As a program writes them once, beside whatever its steps are.
STATIC = {
    "x": {"file": "mesh/points.npy", "axes": [1, 0]},
    "triangles": {"file": "mesh.h5", "name": "/of/corners", "axes": [1, 0]},
}


def write_mesh(folder: Path) -> None:
    (folder / "mesh").mkdir(exist_ok=True)
    np.save(folder / "mesh/points.npy", X.T)
    with h5py.File(folder / "mesh.h5", "w") as file:
        file["of/corners"] = TRIANGLES.T


def saved_vtu(path: Path, values: Any) -> None:
    pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")
    mesh = pyvista.UnstructuredGrid({pyvista.CellType.TRIANGLE: TRIANGLES.T}, np.c_[X.T, np.zeros(4)])
    mesh["T"] = values
    mesh.save(path)


def npy(folder: Path, step: int) -> None:
    np.save(folder / f"T_{step}.npy", T[step])


def appended(folder: Path, step: int, write: Callable[[Any], object]) -> None:
    with (folder / "all.txt").open("ab") as file:
        file.write(bytes_of(write))


def table(folder: Path, step: int) -> None:
    np.savetxt(folder / f"T_{step}.csv", T[step], header="T")


def rows(folder: Path, step: int) -> None:
    appended(folder, step, lambda file: np.savetxt(file, T[step][None]))


def raw(folder: Path, step: int) -> None:
    T[step].tofile(folder / f"T_{step}.bin")


def repeated(folder: Path, step: int) -> None:
    appended(folder, step, lambda file: file.write(T[step].tobytes()))


def printed(folder: Path, step: int) -> str:
    return f"T = {' '.join(map(str, T[step]))}\n"


def hdf5(folder: Path, step: int) -> None:
    with h5py.File(folder / f"T_{step}.h5", "w") as file:
        file["T"] = T[step]


def datasets(folder: Path, step: int) -> None:
    with h5py.File(folder / "all.h5", "a") as file:
        file[f"T_{step}"] = T[step]


def vtu(folder: Path, step: int) -> None:
    saved_vtu(folder / f"T_{step}.vtu", T[step])


def collection(folder: Path, step: int) -> None:
    vtu(folder, step)
    entries = "".join(f'<DataSet timestep="{s}" part="0" file="T_{s}.vtu"/>' for s in range(step + 1))
    (folder / "all.pvd").write_text(
        f'<?xml version="1.0"?><VTKFile type="Collection"><Collection>{entries}</Collection></VTKFile>'
    )


def foam(folder: Path, step: int) -> None:
    (folder / f"{step}").mkdir()
    (folder / f"{step}/T").write_bytes(field(T[step]))


ROWS = {"layout": [{"name": "T", "dtype": "float64", "shape": [4]}]}
CASES: dict[str, tuple[Callable[[Path, int], str | None], str, dict[str, Any]]] = {
    "a file per step": (npy, "NpyFiles", {"files": "T_{step}.npy"}),
    "a file per field": (npy, "NpyFiles", {"files": "{field}_{step}.npy"}),
    "a table per step": (table, "TextTables", {"files": "T_{step}.csv"}),
    "rows": (rows, "TextTables", {"files": "all.txt", "rows_per_step": 1, "fields": {"T": [0, 1, 2, 3]}}),
    "a raw file per step": (raw, "RawFiles", {"files": "T_{step}.bin", **ROWS}),
    "a raw file": (repeated, "RawFiles", {"files": "all.txt", "repeated": True, **ROWS}),
    "lines": (printed, "PrintedLines", {"lines": "T = (?P<T>.*)", "fields": None}),
    "hdf5 per step": (hdf5, "Hdf5Files", {"files": "T_{step}.h5"}),
    "datasets": (datasets, "Hdf5Files", {"files": "all.h5", "fields": {"T": "T_{step}"}}),
    "a mesh file per step": (vtu, "MeshFiles", {"files": "T_{step}.vtu"}),
    "a mesh file": (collection, "MeshFiles", {"files": "all.pvd"}),
    "foam": (foam, "OpenFoamTimes", {"initial": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_beside_the_steps_of_any_reader(tmp_path: Path, case: str) -> None:
    """The mesh is written after the first step has begun."""
    write, reader, options = CASES[case]
    options = {name: value for name, value in {"fields": ["T"], **options}.items() if value is not None}
    made = getattr(readers, reader)(**options, static=STATIC)
    acts = [partial(write, tmp_path, 0), partial(write_mesh, tmp_path), *(partial(write, tmp_path, s) for s in (1, 2))]
    if case in ("rows", "lines"):  # of which one is complete by itself
        acts[:2] = acts[1::-1]
    beginning, *steps = read(made, tmp_path, *acts, shapes=SHAPES, static=DECLARED)
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["x"], X)
    np.testing.assert_array_equal(beginning.static["triangles"], TRIANGLES)
    assert [each.step for each in steps] == [0, 1, 2]
    for each, values in zip(steps, T, strict=True):
        np.testing.assert_array_equal(np.ravel(each.fields["T"]), values)


def begun(folder: Path, reader: Any, declared: Any = None) -> Beginning:
    beginning, *_ = read(reader, folder, shapes=SHAPES, static=DECLARED if declared is None else declared)
    assert isinstance(beginning, Beginning)
    return beginning


def test_the_suffix_says_the_format(tmp_path: Path) -> None:
    npy(tmp_path, 0)
    np.savez(tmp_path / "m.npz", points=X, unread=0)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["points"] = X
    saved_vtu(tmp_path / "m.vtu", T[0])
    np.savetxt(tmp_path / "points.csv", X.T, delimiter=",", header="x,y")
    np.savetxt(tmp_path / "points.txt", X.T)
    for source in (
        {"file": "m.npz", "name": "points"},
        {"file": "m.h5", "name": "points"},
        {"file": "m.vtu", "name": "mesh:points", "select": ":2"},
        {"file": "points.csv", "name": ["x", "y"]},
        {"file": "points.txt", "name": "*", "axes": [1, 0]},
    ):
        reader = NpyFiles(files="T_{step}.npy", fields=["T"], static={"x": source})
        np.testing.assert_array_equal(begun(tmp_path, reader).static["x"], X)


def test_numbers_of_points_as_a_table_has_them(tmp_path: Path) -> None:
    """Whole numbers, though a table has no types, and counted from 1, as Fortran does."""
    npy(tmp_path, 0)
    for first in (0, 1):
        np.savetxt(tmp_path / "triangles.txt", TRIANGLES.T + first)
        source = {"file": "triangles.txt", "name": [0, 1, 2], "numbers_from": first}
        reader = NpyFiles(files="T_{step}.npy", fields=["T"], static={"triangles": source})
        triangles = begun(tmp_path, reader).static["triangles"]
        assert triangles.dtype == np.int64  # type: ignore[union-attr]
        np.testing.assert_array_equal(triangles, TRIANGLES)


def test_a_table_of_its_own_is_written_as_the_others_are(tmp_path: Path) -> None:
    (tmp_path / "T_0.out").write_text("% T\n0\n1\n2\n3\n")
    (tmp_path / "points.out").write_text("% x:y\n" + "".join(f"{x}:{y}\n" for x, y in X.T))
    reader = TextTables(
        files="T_{step}.out",
        fields=["T"],
        comments="%",
        delimiter=":",
        static={"x": {"file": "points.out", "name": ["x", "y"]}},
    )
    np.testing.assert_array_equal(begun(tmp_path, reader).static["x"], X)


def test_columns_that_lie_beside_those_of_each_step(tmp_path: Path) -> None:
    for step in range(2):
        content = np.column_stack([X.T, T[step]])
        np.savetxt(tmp_path / f"{step}.csv", content, delimiter=",", header="x,y,T")
    reader = TextTables(files="{step}.csv", fields=["T"], static={"x": ["x", "y"]})
    np.testing.assert_array_equal(begun(tmp_path, reader).static["x"], X)
    np.savetxt(tmp_path / "1.csv", np.column_stack([X.T + 1, T[1]]), delimiter=",", header="x,y,T")
    with pytest.raises(SolverError, match=r"'x' in 1\.csv is another than in 0\.csv"):
        begun(tmp_path, reader)


def test_arrays_of_a_raw_file_that_lie_beside_those_of_each_step(tmp_path: Path) -> None:
    for step in range(2):
        (tmp_path / f"{step}.bin").write_bytes(X.tobytes() + T[step].tobytes())
    layout = [{"name": "x", "shape": [2, 4]}, {"name": "T", "shape": [4]}]
    reader = readers.RawFiles(files="{step}.bin", layout=layout, static=["x"])
    beginning, *steps = read(reader, tmp_path, shapes=SHAPES, static=DECLARED)
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["x"], X)
    assert [each.fields.keys() for each in steps] == [{"T"}, {"T"}]


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_cell_centres_that_openfoam_wrote_once(tmp_path: Path, num_ranks: int) -> None:
    for rank in range(num_ranks):
        case = tmp_path / f"processor{rank}" if num_ranks == 2 else tmp_path
        cells = [*range(4)] if num_ranks == 1 else [2 * rank, 2 * rank + 1]
        for time in (0, 1):
            (case / f"{time}").mkdir(parents=True)
            (case / f"{time}/T").write_bytes(field(T[time][cells]))
        (case / "0/C").write_bytes(field(np.c_[X.T, np.zeros(4)][cells]))
        (case / "constant/polyMesh").mkdir(parents=True)
        numbers = "\n".join(map(str, cells))
        (case / "constant/polyMesh/cellProcAddressing").write_text(
            f"FoamFile\n{{\n    format ascii;\n    class labelList;\n}}\n{len(cells)}\n(\n{numbers}\n)\n"
        )
    reader = OpenFoamTimes(fields=["T"], num_ranks=num_ranks, static={"x": {"file": "0/C", "select": ":2"}})
    np.testing.assert_array_equal(begun(tmp_path, reader).static["x"], X)
    (tmp_path / ("processor1/0/C" if num_ranks == 2 else "0/C")).unlink()
    with pytest.raises(SolverError, match=r"0/C is not there, and the first time step is complete"):
        begun(tmp_path, reader)


def test_datasets_of_the_file_that_has_all_steps(tmp_path: Path) -> None:
    for step in range(3):
        datasets(tmp_path, step)
    with h5py.File(tmp_path / "all.h5", "a") as file:
        file["mesh/points"] = X
    source = {"file": "all.h5", "name": "mesh/points"}
    reader = Hdf5Files(files="all.h5", fields={"T": "T_{step}"}, static={"x": source})
    np.testing.assert_array_equal(begun(tmp_path, reader).static["x"], X)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"file": "mesh/x.npy"}, "mesh/x.npy is not there, and the first time step is complete: what is sent once"),
        ({"file": "cut.npy"}, "cut.npy cannot be read: "),
        ({"file": "cut.h5"}, "cut.h5 cannot be read: "),
        ({"file": "mesh.h5"}, "mesh.h5 has no dataset 'x': it has of/corners"),
        ({"file": "mesh.h5", "name": ["of/corners", "b"]}, "mesh.h5 has no dataset 'b'"),
        (
            {"file": "mesh/points.npy"},
            "static field 'x' in mesh/points.npy: received 8 values, of shape [4, 2]; expected shape [2, num_points]: "
            "for axes in another order, write axes: [1, 0]",
        ),
        ({"file": "T_0.npy"}, "received 4 values, of shape [4]; expected shape [2, num_points]: correct the declared"),
        (
            {"file": "mesh/points.npy", "axes": [1, 0], "numbers_from": 0},
            "static field 'x' in mesh/points.npy: there is 0.5 at index (0, 3) of it, but numbers of points are whole",
        ),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, source: Any, told: str) -> None:
    npy(tmp_path, 0)
    write_mesh(tmp_path)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "mesh.h5").read_bytes()[:300])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "mesh/points.npy").read_bytes()[:-9])
    if "numbers_from" in source:
        np.save(tmp_path / "mesh/points.npy", np.where(X == 1, [1, 1, 1, 0.5], X).T)
    with pytest.raises(SolverError, match=re.escape(told)):
        begun(tmp_path, NpyFiles(files="T_{step}.npy", fields=["T"], static={"x": source}))


def test_a_mesh_that_is_another_than_that_of_the_steps(tmp_path: Path) -> None:
    npy(tmp_path, 0)
    np.save(tmp_path / "points.npy", X[:, :3])
    static = {"x": {"file": "points.npy"}}
    mesh = MeshOfRun(SHAPES, DECLARED)
    beginning, step = read(
        NpyFiles(files="T_{step}.npy", fields=["T"], static=static), tmp_path, shapes=SHAPES, static=DECLARED
    )
    assert list(mesh.ready(beginning)) == []
    with pytest.raises(SolverError, match="step 0 has 4 values along num_points, but field 'x' that is sent once has"):
        list(mesh.ready(step))


def test_points_that_the_mesh_has_not(tmp_path: Path) -> None:
    """A file that counts from 1, and nobody said so."""
    npy(tmp_path, 0)
    np.savetxt(tmp_path / "triangles.txt", TRIANGLES.T + 1)
    source = {"file": "triangles.txt", "name": [0, 1, 2], "numbers_from": 0}
    beginning = begun(tmp_path, NpyFiles(files="T_{step}.npy", fields=["T"], static={"triangles": source}))
    layout = Layout(
        fields=(FieldSpec(name="T", shape=(0,), extent="num_points"),),
        parameters=(),
        static=(
            FieldSpec(
                name="triangles",
                shape=(3, 0),
                dtype="int64",
                components=3,
                extent="num_triangles",
                indexes="num_points",
            ),
        ),
    )
    sizes = {"num_points": 4, "num_triangles": 2}
    local = LocalBeginning(layout, Beginning(extents=sizes, static=beginning.static), SoloTeam())
    local.check()
    local.settle(np.array([local.told]))
    with pytest.raises(SolverError, match="names point 4, but this simulation has 4 points"):
        local.take()


@pytest.mark.parametrize(
    ("static", "told"),
    [
        (
            {"x": {"file": "p.npy", "path": "q"}},
            "static.x has the options path: there are axes, file, name, numbers_from",
        ),
        ({"x": {"file": 3}}, "static.x.file is 3: write the name of a file in the folder of the simulation"),
        ({"x": {"file": "p_{rank}.npy"}}, "static.x.file is 'p_{rank}.npy', which are several files"),
        ({"x": {"file": "/mesh/p.npy"}}, "'/mesh/p.npy' is no path inside the folder of the simulation"),
        ({"x": {"file": "../p.npy"}}, "'../p.npy' is no path inside the folder of the simulation"),
        (
            {"x": {"file": "p.msh"}},
            "static.x.file is 'p.msh': its suffix says how it is read, and there are .npy, .npz",
        ),
        ({"x": {"file": "p.npy", "numbers_from": "1"}}, "static.x.numbers_from is '1': write the number of the first"),
        (["x"], "static.x names no file, so it would lie in the file of each step beside the fields, and these are"),
    ],
)
def test_options_that_are_none(static: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        PrintedLines(lines="T = (?P<T>.*)", static=static)


def test_fields_have_no_file_of_their_own() -> None:
    with pytest.raises(
        ValueError, match=r"fields\.T has the options file: there are axes, name, order, select, shape$"
    ):
        NpyFiles(files="{step}.npy", fields={"T": {"file": "T.npy"}})


def test_a_whole_mesh_beside_the_pieces_of_ranks(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")
    saved_vtu(tmp_path / "mesh.vtu", T[0])
    for rank, points in enumerate([slice(0, 2), slice(2, 4)]):
        piece = pyvista.PolyData(np.c_[X.T, np.zeros(4)][points])
        piece["T"] = T[0][points]
        piece.save(tmp_path / f"{rank}_0.vtp")
    static = {
        "x": {"file": "mesh.vtu", "name": "mesh:points", "select": ":2"},
        "triangles": {"file": "mesh.vtu", "name": "mesh:cells"},
    }
    reader = MeshFiles(files="{rank}_{step}.vtp", fields=["T"], num_ranks=2, static=static)
    beginning, step = read(reader, tmp_path, shapes=SHAPES, static=DECLARED)
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["triangles"], TRIANGLES)
    assert isinstance(step, Found)
    np.testing.assert_array_equal(step.fields["T"], T[0])
