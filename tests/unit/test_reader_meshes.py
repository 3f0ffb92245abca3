"""Files of meshes, where PyVista is installed: a file per step, and one with all steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from melissa_like.client.readers import MeshFiles
from melissa_like.errors import SolverError
from tests.unit.written import read, writes

pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")

T = [np.arange(12.0).reshape(3, 4) + 100 * step for step in range(3)]
SHAPES = {"T": (3, 4), "U": (2, 3, 4), "c": (2, 3)}
FIELDS = {"T": "T", "U": {"name": "U", "select": ":2"}, "c": "cells:q"}


def grid(step: int) -> Any:
    made = pyvista.ImageData(dimensions=(4, 3, 1))
    made.point_data["T"] = T[step].ravel()
    made.point_data["U"] = np.stack([T[step].ravel(), -T[step].ravel(), np.zeros(12)], axis=1)
    made.point_data["q"] = np.zeros(12)
    made.cell_data["q"] = np.arange(6.0) + step
    made.field_data["TimeValue"] = [step / 4]
    return made


FORMS: dict[str, Callable[[Any], Any]] = {
    ".vti": lambda mesh: mesh,
    ".vtk": lambda mesh: mesh,
    ".vts": lambda mesh: mesh.cast_to_structured_grid(),
    ".vtr": lambda mesh: mesh.cast_to_rectilinear_grid(),
    ".vtu": lambda mesh: mesh.cast_to_unstructured_grid(),
    ".vtm": lambda mesh: pyvista.MultiBlock([mesh]),
}


def saved(folder: Path, step: int, suffix: str) -> bytes:
    path = folder / f"saved{suffix}"
    FORMS[suffix](grid(step)).save(path)
    return path.read_bytes()


def assert_found(found: list[Any]) -> None:
    assert [(f.step, f.time) for f in found] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    for each, values in zip(found, T, strict=True):
        np.testing.assert_array_equal(each.fields["T"], values)
        np.testing.assert_array_equal(each.fields["U"], [values, -values])
        np.testing.assert_array_equal(each.fields["c"], np.arange(6.0).reshape(2, 3) + each.step)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMS if suffix != ".vtm"])
def test_a_file_per_step(tmp_path: Path, suffix: str) -> None:
    acts = [
        act
        for step in range(3)
        for act in writes(tmp_path / f"out/t{step}{suffix}", saved(tmp_path, step, suffix), pieces=3)
    ]
    reader = MeshFiles(files="out/t{step}" + suffix, fields=FIELDS)
    assert_found(read(reader, tmp_path, *acts, shapes=SHAPES))


def test_files_of_ranks(tmp_path: Path) -> None:
    for step in range(3):
        for rank, columns in enumerate([slice(0, 1), slice(1, 3)]):
            points = np.stack([*np.mgrid[columns, 0:4], np.zeros((columns.stop - columns.start, 4))], axis=-1)
            mesh = pyvista.PolyData(points.reshape(-1, 3).astype(float))
            mesh["T"] = T[step][columns].ravel()
            mesh.save(tmp_path / f"{rank}_{step}.vtp")
    reader = MeshFiles(files="{rank}_{step}.vtp", fields=["T"], num_ranks=2, time=0.25)
    for each, values in zip(read(reader, tmp_path, shapes=SHAPES), T, strict=True):
        np.testing.assert_array_equal(each.fields["T"], values)


def test_a_collection(tmp_path: Path) -> None:
    entries = ""
    for step in range(3):
        FORMS[".vtu"](grid(step)).save(tmp_path / f"t{step}.vtu")
        entries += f'<DataSet timestep="{step / 4}" part="0" file="t{step}.vtu"/>'
    content = f'<?xml version="1.0"?><VTKFile type="Collection"><Collection>{entries}</Collection></VTKFile>'
    assert_found(
        read(
            MeshFiles(files="all.pvd", fields=FIELDS),
            tmp_path,
            *writes(tmp_path / "all.pvd", content.encode()),
            shapes=SHAPES,
        )
    )


def write_ensight(folder: Path) -> None:
    """EnSight Gold as text: one part, triangles."""

    def lines(values: Any) -> str:
        return "".join(f"{value:12.5e}\n" for value in values)

    variables = "scalar per node: 1 T e.T****\nscalar per element: 1 c e.c****\n"
    time = "time set: 1\nnumber of steps: 2\nfilename start number: 0\nfilename increment: 1\ntime values: 0.5 1.5\n"
    (folder / "e.case").write_text(
        f"FORMAT\ntype: ensight gold\nGEOMETRY\nmodel: e.geo\nVARIABLE\n{variables}TIME\n{time}"
    )
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    triangles = "".join(f"{a:10d}{b:10d}{c:10d}\n" for a, b, c in [(1, 2, 3), (2, 4, 3)])
    head = "a mesh\nof two\nnode id assign\nelement id assign\npart\n         1\none\ncoordinates\n         4\n"
    (folder / "e.geo").write_text(f"{head}{lines(points.T.ravel())}tria3\n         2\n{triangles}")
    for step in range(2):
        (folder / f"e.T{step:04d}").write_text(f"T\npart\n         1\ncoordinates\n{lines(np.arange(4) + step)}")
        (folder / f"e.c{step:04d}").write_text(f"c\npart\n         1\ntria3\n{lines(np.arange(2) + step)}")


def test_ensight(tmp_path: Path) -> None:
    write_ensight(tmp_path)
    found = read(MeshFiles(files="e.case", fields=["T", "c"]), tmp_path, shapes={"T": (4,), "c": (2,)})
    assert [(f.step, f.time) for f in found] == [(0, 0.5), (1, 1.5)]
    assert [f.fields["T"].tolist() for f in found] == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert [f.fields["c"].tolist() for f in found] == [[0, 1], [1, 2]]


XDMF = """<?xml version="1.0"?><Xdmf Version="3.0"><Domain>
<Grid CollectionType="Temporal" GridType="Collection">{grids}</Grid></Domain></Xdmf>"""
GRID = """<Grid><Time Value="{time}"/>
<Geometry GeometryType="XYZ"><DataItem DataType="Float" Dimensions="4 3" Format="HDF" Precision="8">x.h5:/points</DataItem></Geometry>
<Topology TopologyType="Triangle" NumberOfElements="2"><DataItem DataType="Int" Dimensions="2 3" Format="HDF" Precision="8">x.h5:/cells</DataItem></Topology>
<Attribute Name="T" AttributeType="Scalar" Center="Node"><DataItem DataType="Float" Dimensions="4" Format="HDF" Precision="8">x.h5:/T{step}</DataItem></Attribute>
</Grid>"""  # noqa: E501


def test_xdmf(tmp_path: Path) -> None:
    (tmp_path / "x.xdmf").write_text(XDMF.format(grids="".join(GRID.format(time=s / 4, step=s) for s in range(2))))
    with pytest.raises(SolverError, match=r"x.xdmf cannot be read: its data are in x.h5, which is not there"):
        read(MeshFiles(files="x.xdmf", fields=["T"]), tmp_path)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["points"] = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
        file["cells"] = np.array([[0, 1, 2], [1, 3, 2]])
        for step in range(2):
            file[f"T{step}"] = np.arange(4.0) + step
    found = read(MeshFiles(files="x.xdmf", fields=["T"]), tmp_path, shapes={"T": (4,)})
    assert [(f.step, f.time, f.fields["T"].tolist()) for f in found] == [(0, 0, [0, 1, 2, 3]), (1, 0.25, [1, 2, 3, 4])]


@pytest.mark.parametrize("suffix", [".vti", ".vtk", ".vtu"])
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.9])
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str, kept: float) -> None:
    """Of VTK's old format too, of which its reader invents the rest."""
    content = saved(tmp_path, 0, suffix)
    (tmp_path / f"t0{suffix}").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SolverError, match=f"t0{suffix} (cannot be read: |has no array)"):
        read(MeshFiles(files="t{step}" + suffix, fields=FIELDS), tmp_path, shapes=SHAPES)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"fields": ["v"]},
            "t0.vtu has no array 'v': it has points:T, points:U, points:q, cells:q, data:TimeValue; corr",
        ),
        ({"fields": ["q"]}, "t0.vtu has several arrays 'q': write points:q or cells:q"),
        ({"fields": {"T": "cells:T"}}, "t0.vtu has no array 'cells:T'"),
        ({"files": "u{step}.vtu"}, "looks for: files of the name u{step}.vtu"),
        ({"files": "u.vtu"}, "looks for: the file u.vtu"),
        ({"files": "t{step}.xyz"}, "t0.xyz cannot be read: "),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    (tmp_path / "t0.vtu").write_bytes(saved(tmp_path, 0, ".vtu"))
    (tmp_path / "t0.xyz").write_bytes(b"0 0 0")
    with pytest.raises(SolverError) as caught:
        read(MeshFiles(**{"files": "t{step}.vtu", "fields": ["T"], **options}), tmp_path)
    assert told in str(caught.value)
