"""`melissa-like check` of solvers whose meshes differ: a generator, a program of its own, one that is followed."""

import sys
from pathlib import Path

import pytest

from tests.integration.studies import ROOT, Ran, melissa_like
from tests.integration.test_mesh_studies import on_meshes

#: What the first simulation of the study has.
SAID = (
    "extents of this simulation: num_points = 6, num_edges = 9\n"
    "points per rank: 3, 3\n"
    "sent once: coordinates, edges\n"
    "connectivity: edges names 6 of 6 points, and no other\n"
)

MAIN = """
from mpi4py import MPI

from melissa_like.client import Beginning, connect
from tests.plugins.meshes import solve

session = connect(MPI.COMM_WORLD)
for item in solve(session.parameters, MPI.COMM_WORLD, scattered=True):
    if isinstance(item, Beginning):
        session.begin(item.extents, item.static)
    else:
        session.send(*item)
session.close()
"""

PROGRAM = f"""
import os
import sys

sys.path.insert(0, {str(ROOT)!r})
import numpy as np

from tests.plugins.meshes import coordinates_of, edges_of, values_of

number = int(float(sys.argv[1]))
for step in range(6):
    np.savez("writing.npz", u=values_of(number, step), coordinates=coordinates_of(number), edges=edges_of(number))
    os.rename("writing.npz", f"out_{{step}}.npz")
"""

READER = "{_target_: melissa_like.client.readers.NpyFiles, files: 'out_{step}.npz', fields: [u], complete: renamed}"


def check(folder: Path, *overrides: str, ranks: int = 1) -> Ran:
    return melissa_like(folder / "none", *on_meshes(folder, ranks=ranks), *overrides, command="check")


def assert_seen(ran: Ran, said: str = SAID) -> None:
    assert ran.code == 0, ran.err
    assert said in ran.out
    assert "every step covered once" in ran.out


@pytest.mark.slow
@pytest.mark.mpi
def test_a_generator_of_scattered_points(tmp_path: Path) -> None:
    assert_seen(check(tmp_path, "+solver.solve.scattered=true", ranks=2))


@pytest.mark.mpi
def test_a_ghost_point_is_named(tmp_path: Path) -> None:
    ran = check(tmp_path, "+solver.solve.scattered=true", "+solver.solve.ghosts=true", ranks=2)
    assert ran.code == 1
    assert "rank 0, before its first time step: the ranks have sent 14 elements of field 'coordinates'" in ran.err
    assert "came twice, the first from ranks 0 and 1; the points of the ranks do not cover the field" in ran.err


@pytest.mark.slow
@pytest.mark.mpi
def test_a_program_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    command = f"solver.command=[{sys.executable},-m,mpi4py,{tmp_path / 'main.py'}]"
    assert_seen(check(tmp_path, "~solver.solve._target_", command, ranks=2))


@pytest.mark.slow
def test_a_program_that_is_followed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f"solver.command=[{sys.executable},{tmp_path / 'program.py'},'{{number}}']"
    reader = [f"+solver.reader={READER}", "+solver.reader.static=[coordinates,edges]"]
    ran = check(tmp_path, "~solver.solve._target_", command, *reader)
    assert_seen(ran, SAID.replace("points per rank: 3, 3\n", ""))
    assert "the program left 6 files" in ran.out
