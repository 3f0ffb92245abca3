"""The plate with a hole: its mesh, and its mechanics against exact solutions."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("skfem", reason="scikit-fem is not installed (the extra `fem`)")

from melissa_like.client import Beginning
from melissa_like.solvers.plate_fem import solve
from melissa_like.solvers.plate_fem.elasticity import Elastic, von_mises
from melissa_like.solvers.plate_fem.mesh import Hole, plate_with_hole

PARAMETERS = {"hole_x": 0.4, "hole_y": 0.6, "radius": 0.15, "tension": 1.0, "shear": 0.2}
ALONE = SimpleNamespace(rank=0, size=1)
YOUNG, POISSON = 2.0, 0.3

HOLES = [Hole(0.5, 0.5, 0.1), Hole(0.35, 0.65, 0.2), Hole(0.65, 0.35, 0.08), Hole(0.431, 0.567, 0.173)]


def corners(points, triangles):
    return (points[triangles[:, corner]] for corner in range(3))


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("spacing", [0.08, 0.05])
def test_the_mesh_is_of_well_shaped_triangles_that_turn_the_same_way(hole, spacing):
    points, triangles = plate_with_hole(hole, spacing)
    a, b, c = corners(points, triangles)
    areas = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    squares = sum(np.square(one - other).sum(axis=1) for one, other in ((a, b), (b, c), (c, a)))
    assert areas.min() > 0
    assert (4 * np.sqrt(3) * areas / squares).min() > 0.4  # 1 is that of an equilateral triangle
    assert hole.distances(points).min() == pytest.approx(hole.radius)


def test_another_hole_has_another_mesh():
    assert len({len(plate_with_hole(hole, 0.06)[0]) for hole in HOLES}) == len(HOLES)


@pytest.mark.parametrize("hole", [(0.5, 0.5, 0.0), (0.1, 0.5, 0.2), (1.5, 0.5, 0.1)])
def test_a_hole_that_is_not_in_the_plate_is_refused(hole):
    with pytest.raises(ValueError, match="a hole that lies within the plate"):
        Hole(*hole)


@pytest.mark.parametrize("spacing", [0.0, 1.0])
def test_a_spacing_that_cannot_be_is_refused(spacing):
    with pytest.raises(ValueError, match="the spacing of the mesh is"):
        plate_with_hole(HOLES[0], spacing)


def whole_edge(points, triangles, hole):
    """All sides: those on the plate's edge, and those on the hole's."""
    return {
        "frame": lambda x: np.abs(x - 0.5).max(axis=0) > 0.5 - 1e-9,
        "hole": lambda x: hole.distances(x.T) < hole.radius * (1 + 1e-9),
    }


def test_a_linear_displacement_is_exact_and_its_stress_is_constant():
    hole = HOLES[3]
    points, triangles = plate_with_hole(hole, 0.1)
    body = Elastic(points, triangles, whole_edge(points, triangles, hole), young=YOUNG, poisson=POISSON)
    slope = np.array([[0.3, -0.1], [0.2, 0.4]])
    unknowns = body.unknowns({name: lambda x: slope @ x for name in ("frame", "hole")}, {})
    np.testing.assert_allclose(body.displacement(unknowns), slope @ points.T, atol=1e-12)
    strain, lame = (slope + slope.T) / 2, YOUNG * POISSON / ((1 + POISSON) * (1 - 2 * POISSON))
    stress = lame * np.trace(strain) * np.eye(2) + YOUNG / (1 + POISSON) * strain
    expected = np.array([stress[0, 0], stress[1, 1], stress[0, 1]])[:, None]
    np.testing.assert_allclose(body.stress(unknowns), np.repeat(expected, len(points), axis=1), atol=1e-11)


def kirsch(x, hole):
    """The displacement of an infinite plate with a free hole under unit tension along x (Kirsch 1898), plane strain."""
    dx, dy = x[0] - hole.x, x[1] - hole.y
    r, angle = np.hypot(dx, dy) / hole.radius, np.arctan2(dy, dx)
    kappa, shear = 3 - 4 * POISSON, YOUNG / (2 * (1 + POISSON))
    cos, cos3, sin, sin3 = np.cos(angle), np.cos(3 * angle), np.sin(angle), np.sin(3 * angle)
    along = r * (kappa + 1) * cos + 2 / r * ((1 + kappa) * cos + cos3) - 2 / r**3 * cos3
    across = r * (kappa - 3) * sin + 2 / r * ((1 - kappa) * sin + sin3) - 2 / r**3 * sin3
    return hole.radius / (8 * shear) * np.stack([along, across])


def kirsch_errors(spacing):
    """The relative error of the displacement, and the largest stress along x, which is 3."""
    hole = Hole(0.45, 0.55, 0.15)
    points, triangles = plate_with_hole(hole, spacing)
    frame = {"frame": whole_edge(points, triangles, hole)["frame"]}
    body = Elastic(points, triangles, frame, young=YOUNG, poisson=POISSON)
    unknowns = body.unknowns({"frame": lambda x: kirsch(x, hole)}, {})
    true = kirsch(points.T, hole)
    error = np.linalg.norm(body.displacement(unknowns) - true) / np.linalg.norm(true)
    return error, body.stress(unknowns)[0].max()


def test_the_solution_of_kirsch_is_approached():
    (coarse, _), (fine, peak) = kirsch_errors(0.05), kirsch_errors(0.02)
    assert fine < coarse / 3 < 1e-3
    assert peak == pytest.approx(3.0, rel=0.05)


def test_von_mises_of_a_uniaxial_stress_without_lateral_contraction_is_this_stress():
    np.testing.assert_allclose(von_mises(np.array([[2.0], [0.0], [0.0]]), 0.0), [2.0])
    np.testing.assert_allclose(von_mises(np.array([[0.0], [0.0], [1.0]]), 0.3), [np.sqrt(3)])


def test_the_plate_says_its_mesh_and_then_its_only_step():
    beginning, (step, fields) = solve(PARAMETERS, ALONE)
    num_points, num_triangles = beginning.extents["num_points"], beginning.extents["num_triangles"]
    assert isinstance(beginning, Beginning)
    assert {name: values.shape for name, values in beginning.static.items()} == {
        "coordinates": (2, num_points),
        "triangles": (3, num_triangles),
        "edge": (3, num_points),
    }
    assert step == 0
    assert {name: values.shape for name, values in fields.items()} == {
        "displacement": (2, num_points),
        "stress": (num_points,),
        "peak_stress": (1,),
    }
    left = beginning.static["edge"][1] == 1
    assert not fields["displacement"][:, left].any()
    assert (fields["displacement"][0, beginning.static["edge"][2] == 1] > 0).all()


def test_twice_the_load_is_twice_the_displacement():
    _, (_, once) = solve(PARAMETERS, ALONE)
    _, (_, twice) = solve(PARAMETERS | {"tension": 2.0, "shear": 0.4}, ALONE)
    for name, values in once.items():
        np.testing.assert_allclose(twice[name], 2 * values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"poisson": 0.5}, "a ratio from 0"), ({"young": 0.0}, "young is 0.0"), ({"spacing": -1.0}, "spacing is -1.0")],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        next(solve(PARAMETERS, ALONE, **options))


def test_several_ranks_are_refused():
    with pytest.raises(ValueError, match=r"raise launcher\.max_jobs"):
        next(solve(PARAMETERS, SimpleNamespace(rank=0, size=2)))
