"""Fields on a mesh and fields of a few numbers are drawn."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.collections import PathCollection, TriMesh

from melissa_like.monitoring.figures import new_figure
from melissa_like.monitoring.mesh_figures import Mesh, draw_mesh_field
from melissa_like.monitoring.number_figures import draw_numbers
from melissa_like.monitoring.rollout_figures import draw_rollout
from melissa_like.records import FieldSpec, Layout, StudyWideField
from melissa_like.server.meshes import mesh_of

SQUARE = np.array([[0.0, 1.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.5]])
TRIANGLES = np.array([[0, 1, 2, 3], [1, 2, 3, 0], [4, 4, 4, 4]])
VALUES = np.array([1.0, 2.0, 3.0, 4.0, 2.5])
IN_SPACE = np.concatenate([SQUARE, [[0.0, 0.5, 0.6, 1.0, 0.5]]])

POINTS, CELLS = "num_points", "num_cells"
STRESS = FieldSpec(name="stress", shape=(0,), dtype="float32", extent=POINTS)
COORDINATES = FieldSpec(name="coordinates", shape=(2, 0), dtype="float32", components=2, extent=POINTS)
EDGE = FieldSpec(name="edge", shape=(3, 0), dtype="float32", components=3, extent=POINTS)
CELL_CORNERS = FieldSpec(name="cells", shape=(3, 0), dtype="int64", components=3, extent=CELLS, indexes=POINTS)
LAYOUT = Layout(fields=(STRESS,), parameters=(), static=(EDGE, COORDINATES, CELL_CORNERS))
STATIC = {"edge": np.zeros((3, 5)), "coordinates": SQUARE, "cells": TRIANGLES}


def drawn(mesh: Mesh) -> object:
    _, ((axes,),) = new_figure(2, 2)
    return mesh.draw(axes, VALUES)


def test_triangles_and_quadrilaterals_are_coloured_and_points_without_them_too() -> None:
    for elements in (TRIANGLES, np.array([[0], [1], [2], [3]])):
        assert isinstance(drawn(Mesh(coordinates=SQUARE, triangles=elements)), TriMesh)
    points = drawn(Mesh(coordinates=SQUARE))
    assert isinstance(points, PathCollection)
    assert len(points.get_offsets()) == 5


def test_of_points_in_space_a_slice_is_shown() -> None:
    points = drawn(Mesh(coordinates=IN_SPACE))
    assert isinstance(points, PathCollection)
    np.testing.assert_allclose(points.get_offsets(), SQUARE[:, [1, 2, 4]].T)


def test_of_one_layer_of_cells_one_side_is_shown() -> None:
    points = drawn(Mesh(coordinates=np.concatenate([SQUARE, [[0.0, 0.0, 0.0, 1.0, 1.0]]])))
    assert isinstance(points, PathCollection)
    np.testing.assert_allclose(points.get_offsets(), SQUARE[:, :3].T)


@pytest.mark.parametrize(
    ("mesh", "values"),
    [
        (Mesh(coordinates=SQUARE, triangles=TRIANGLES), np.stack([VALUES, 2 * VALUES])),
        (Mesh(coordinates=IN_SPACE), VALUES),
    ],
)
def test_a_field_on_a_mesh_is_drawn_at_one_time_and_over_time(
    tmp_path: Path, mesh: Mesh, values: npt.NDArray[np.float64]
) -> None:
    draw_mesh_field(tmp_path / "one.png", "stress", "title", mesh, values + 0.1, values)
    draw_mesh_field(tmp_path / "lost.png", "stress", "title", mesh, np.full_like(values, np.nan), values)
    steps = np.stack([values, 2 * values, 3 * values])
    draw_rollout(tmp_path / "all.png", "u", "title", steps, steps, steps=[1, 2, 3], components=values.ndim, mesh=mesh)
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in ("one", "lost", "all"))


@pytest.mark.parametrize("shape", [(1,), (6,)])
def test_numbers_are_drawn_against_those_of_the_solver(tmp_path: Path, shape: tuple[int, ...]) -> None:
    true = np.random.default_rng(0).normal(size=(9, *shape))
    true[:, 0] = 2.0  # the same for all samples
    draw_numbers(tmp_path / "drag.png", "drag", "9 held-out samples", true + np.inf, true)
    assert (tmp_path / "drag.png").stat().st_size > 1000


def test_the_mesh_of_a_field_is_found_by_its_extent() -> None:
    found = mesh_of(LAYOUT, STRESS, STATIC, "coordinates")
    assert found is not None
    assert found.coordinates is SQUARE
    assert found.triangles is TRIANGLES


def test_a_mesh_that_all_simulations_share_is_found_by_its_number_of_points() -> None:
    field = FieldSpec(name="u", shape=(5,), dtype="float32")
    places = FieldSpec(name="coordinates", shape=(2, 5), dtype="float64", components=2)
    cells = FieldSpec(name="cells", shape=(3, 4), dtype="int64", components=3, indexes=5)
    shared = (StudyWideField(spec=places, values=SQUARE), StudyWideField(spec=cells, values=TRIANGLES))
    layout = Layout(fields=(field,), parameters=(), study_wide=shared)
    found = mesh_of(layout, field, {wide.spec.name: wide.values for wide in shared}, "coordinates")
    assert found is not None
    assert found.triangles is shared[1].values
    other = FieldSpec(name="v", shape=(6,), dtype="float32")
    assert mesh_of(layout, other, {wide.spec.name: wide.values for wide in shared}, "coordinates") is None


def test_what_nobody_calls_coordinates_is_none() -> None:
    assert mesh_of(LAYOUT, STRESS, STATIC, "places") is None
