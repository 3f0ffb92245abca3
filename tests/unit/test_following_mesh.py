"""The mesh of a program that is followed: found beside its steps, said before the first, the same at all of them."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like.client import Part
from melissa_like.client.following import Beginning, Found, ScriptedRun
from melissa_like.client.following.mesh import MeshOfRun
from melissa_like.client.following.simulation import Usage, follow_simulation
from melissa_like.client.readers import Hdf5Files, MeshFiles, NpyFiles
from melissa_like.errors import SolverError
from tests.unit.test_following_simulation import Receiver
from tests.unit.test_following_templates import call

SHAPES: Mapping[str, tuple[int | str, ...]] = {"T": ("num_points",), "q": (2, "num_cells"), "drag": (1,)}
STATIC: Mapping[str, tuple[int | str, ...]] = {"x": (2, "num_points"), "cells": (3, "num_cells")}
X = np.array([[0.0, 1, 0, 1], [0, 0, 1, 1]])
CELLS = np.array([[0, 1, 2], [1, 3, 2]]).T


def found(step: int, num_points: int = 4, **more: Any) -> Found:
    return Found(step, {"T": np.ones(num_points), "q": np.ones((2, 2)), "drag": [1.0], **more})


def ready(*items: Found | Beginning) -> list[Found | Beginning]:
    mesh = MeshOfRun(SHAPES, STATIC)
    return [each for item in items for each in mesh.ready(item)]


def test_sizes_follow_from_the_arrays() -> None:
    static = {"x": X, "cells": CELLS}
    beginning, first, second = ready(Beginning(static=static), found(0), found(1))
    assert isinstance(beginning, Beginning)
    assert beginning.extents == {"num_points": 4, "num_cells": 2}
    assert beginning.static == static
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert (first.step, second.step) == (0, 1)


def test_without_a_beginning_the_first_step_tells_the_sizes() -> None:
    mesh = MeshOfRun(SHAPES, {})
    (beginning, _) = mesh.ready(found(0))
    assert isinstance(beginning, Beginning)
    assert (beginning.extents, beginning.static) == ({"num_points": 4, "num_cells": 2}, {})


def test_on_a_grid_nothing_is_begun() -> None:
    mesh = MeshOfRun({"T": (4,)}, {})
    items = [each for step in range(2) for each in mesh.ready(found(step))]
    assert [isinstance(each, Found) for each in items] == [True, True]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ((Beginning(), Beginning()), "a Beginning was found after another one"),
        ((found(0), Beginning()), "or after a time step"),
        (
            (Beginning(static={"x": X[:, :3]}), found(0)),
            "field 'T' of time step 0 has 4 values along num_points, but field 'x' that is sent once has 3: all that",
        ),
        (
            (Beginning(extents={"num_points": 5}, static={"x": X}), found(0)),
            "field 'x' that is sent once has 4 values along num_points, but the extent that the reader gave has 5",
        ),
        (
            (found(0), found(1), found(2, num_points=5)),
            "field 'T' of time step 2 has 5 values along num_points, but field 'T' of time step 0 has 4: the mesh must",
        ),
    ],
)
def test_a_mesh_that_contradicts_itself_is_refused(items: tuple[Found | Beginning, ...], words: str) -> None:
    with pytest.raises(SolverError, match=words):
        ready(*items)


def test_parts_tell_no_size() -> None:
    parts = found(0, T=Part(np.ones(2), (2,)))
    mesh = MeshOfRun(SHAPES, {})
    (beginning, _) = [*mesh.ready(parts)]
    assert isinstance(beginning, Beginning)
    assert beginning.extents == {"num_cells": 2}


class Meshed(Receiver):
    """Takes the beginning too."""

    def begin(self, extents: Mapping[str, int], static: Mapping[str, Any]) -> None:
        self.arrived.append((-1, dict(extents), {name: np.shape(array) for name, array in static.items()}))  # type: ignore[arg-type]


WRITES = """
import sys
import numpy as np
num_points = int(float(sys.argv[1]) * 8)
for step in range(3):
    x = np.ones((2, num_points + (step == 2) * int(sys.argv[2])))
    np.savez(f"{step}.npz", v=np.full(x.shape[1], step), x=x)
"""


def follow(tmp_path: Path, bends: str) -> Meshed:
    (tmp_path / "program.py").write_text(WRITES)
    reader = {
        "_target_": "melissa_like.client.readers.NpyFiles",
        "files": "{step}.npz",
        "fields": ["v"],
        "static": {"x": "x"},
    }
    recipe = call(
        tmp_path,
        command=("python", str(tmp_path / "program.py"), "{load}", bends),
        launch=(),
        reader=reader,
        shapes={"v": ("num_points",)},
        static={"x": (2, "num_points")},
    ).recipe()
    receiver = Meshed()
    follow_simulation(recipe, receiver, tmp_path / "folder", Usage())
    return receiver


def test_a_program_s_mesh_is_said_before_its_first_step(tmp_path: Path) -> None:
    assert follow(tmp_path, "0").arrived == [
        (-1, {"num_points": 4}, {"x": (2, 4)}),
        *((step, [step] * 4, None) for step in range(3)),
    ]


def test_a_program_whose_mesh_changes_is_told_so_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SolverError, match=r"'x' in 2.npz is another than in 0.npz(?s:.*)it was started as"):
        follow(tmp_path, "1")


def saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_arrays_of_a_file_are_sent_once(tmp_path: Path) -> None:
    def write(step: int) -> None:
        (tmp_path / f"{step}.npz").write_bytes(saved(T=np.full(4, step), x=X.T, tri=CELLS.T))

    reader = NpyFiles(
        files="{step}.npz",
        fields=["T"],
        static={"x": {"name": "x", "axes": [1, 0]}, "cells": {"name": "tri", "axes": [1, 0]}},
    )
    for _ in range(2):  # of two simulations
        run = ScriptedRun(tmp_path, *(lambda step=step: write(step) for step in range(3)), shapes=SHAPES, static=STATIC)
        beginning, *steps = reader(run)
        assert isinstance(beginning, Beginning)
        np.testing.assert_array_equal(beginning.static["x"], X)
        np.testing.assert_array_equal(beginning.static["cells"], CELLS)
        assert [each.step for each in steps if isinstance(each, Found)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: NpyFiles(files="a.npz", fields=["T"], static=["x"], step_axis=0),
            "static.x names no file, .*, along step_axis",
        ),
        (
            lambda: NpyFiles(files="{field}{step}.npy", fields=["T"], static=["x"]),
            "each field has a file of its own, .*: write the file that it is in",
        ),
        (lambda: NpyFiles(files="{step}.npz", fields=["T"], static=3), "write a list of names"),
        (lambda: Hdf5Files(files="a.h5", fields={"T": "T_{step}"}, static=["x"]), "and one file holds all steps"),
        (
            lambda: MeshFiles(files="{step}_{rank}.vtu", fields=["T"], static={"c": "mesh:cells"}, num_ranks=2),
            "each rank's file numbers its points from 0",
        ),
    ],
)
def test_options_that_do_not_go_together(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def triangles(step: int, points: np.ndarray) -> Any:
    pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")
    mesh = pyvista.UnstructuredGrid({pyvista.CellType.TRIANGLE: CELLS.T}, np.c_[points.T, np.zeros(4)])
    mesh.point_data["T"] = np.full(4, float(step))
    return mesh


STATIC_OF_VTK = {"x": {"name": "mesh:points", "select": ":2"}, "cells": "mesh:cells", "edges": "mesh:edges"}


def test_the_mesh_of_a_vtk_file_is_sent_once(tmp_path: Path) -> None:
    for step in range(2):
        triangles(step, X).save(tmp_path / f"{step}.vtu")
    reader = MeshFiles(files="{step}.vtu", fields=["T"], static=STATIC_OF_VTK)
    beginning, *steps = reader(ScriptedRun(tmp_path, shapes=SHAPES, static=STATIC))
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["x"], X)
    np.testing.assert_array_equal(beginning.static["cells"], CELLS)
    edges = {tuple(sorted(edge)) for edge in beginning.static["edges"].T.tolist()}
    assert edges == {(0, 1), (1, 2), (0, 2), (1, 3), (2, 3)}
    assert len(steps) == 2


def test_a_vtk_mesh_that_moves_is_refused(tmp_path: Path) -> None:
    for step in range(2):
        triangles(step, X + step).save(tmp_path / f"{step}.vtu")
    reader = MeshFiles(files="{step}.vtu", fields=["T"], static=STATIC_OF_VTK)
    with pytest.raises(
        SolverError, match=r"'mesh:points' in 1.vtu is another than in 0.vtu: what is sent once must stay"
    ):
        list(reader(ScriptedRun(tmp_path, shapes=SHAPES, static=STATIC)))


def test_blocks_of_a_vtk_file_number_their_points_on(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")
    blocks = pyvista.MultiBlock([triangles(0, X), triangles(0, X + 1)])
    blocks.save(tmp_path / "0.vtm")
    reader = MeshFiles(files="{step}.vtm", fields=["T"], static={"cells": "mesh:cells"})
    beginning, _ = reader(ScriptedRun(tmp_path, shapes=SHAPES, static=STATIC))
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["cells"], np.concatenate([CELLS, CELLS + 4], axis=1))


def test_cells_of_several_kinds_are_no_array(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista", reason="needs the extra readers")
    mixed = {pyvista.CellType.TRIANGLE: CELLS.T[:1], pyvista.CellType.QUAD: np.array([[0, 1, 3, 2]])}
    mesh = pyvista.UnstructuredGrid(mixed, np.c_[X.T, np.zeros(4)])
    mesh.point_data["T"] = np.zeros(4)
    mesh.save(tmp_path / "0.vtu")
    reader = MeshFiles(files="{step}.vtu", fields=["T"], static={"cells": "mesh:cells"})
    with pytest.raises(SolverError, match="cells of several numbers of corners: mesh:cells is for cells that"):
        list(reader(ScriptedRun(tmp_path, shapes=SHAPES, static=STATIC)))
