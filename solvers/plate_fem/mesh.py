"""A triangulation of a square plate with a round hole, finer around the hole."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from melissa_like.solvers.communicator import FloatArray

__all__ = ["Hole", "plate_with_hole"]

_SIDE = 1.0
#: Points on the edge of a hole, at least: so round it is.
_FEWEST = 24
#: How much wider each ring of points around the hole is spaced than the one before.
_GROWTH = 1.2
#: A point comes no nearer than this to a ring or an edge, in parts of the spacing there.
_APART = 0.6
_SMOOTHINGS = 5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Hole:
    """Where the hole is.

    Raises:
        ValueError: no radius, or a hole that reaches the edge of the plate.
    """

    x: float
    y: float
    radius: float

    def __post_init__(self) -> None:
        clear = min(self.x, self.y, _SIDE - self.x, _SIDE - self.y) - self.radius
        if not (self.radius > 0 and clear > 0):
            raise ValueError(
                f"the hole has the radius {self.radius:g} around ({self.x:g}, {self.y:g}): give a positive radius, and "
                f"a hole that lies within the plate of side {_SIDE:g}"
            )

    def distances(self, points: FloatArray) -> FloatArray:
        """How far points, [N, 2], are from its centre."""
        found: FloatArray = np.hypot(points[:, 0] - self.x, points[:, 1] - self.y)
        return found


def plate_with_hole(hole: Hole, spacing: float) -> tuple[FloatArray, npt.NDArray[Any]]:
    """Points and triangles of the plate, the same for the same arguments.

    Rings of points around the hole, ever wider spaced, go over into a lattice of equilateral triangles; the points that
    are on no edge are then moved to the middle of their neighbours, a few times. All points on the hole's edge are on
    one circle without a point in it, so that each side of its polygon is a side of a Delaunay triangle; those on the
    plate's edge are its convex hull. So both edges are as they should be, whatever the hole.

    Args:
        hole: in the plate [0, 1] × [0, 1].
        spacing: of the points far from the hole.

    Returns:
        Points, float64 [N, 2], and triangles, int [M, 3], counter-clockwise.

    Raises:
        ValueError: a spacing that is not between 0 and the side of the plate.
    """
    if not 0 < spacing < _SIDE:
        raise ValueError(f"the spacing of the mesh is {spacing:g}: give a number between 0 and {_SIDE:g}")
    ring = _circle(hole, hole.radius, max(_FEWEST, round(2 * np.pi * hole.radius / spacing)), turned=False)
    frame = _frame(spacing)
    inner = _inner(hole, len(ring), spacing)
    num_fixed = len(ring) + len(frame)
    points = np.concatenate([ring, frame, inner])
    triangles = _triangles(points, len(ring))
    for _ in range(_SMOOTHINGS):
        points = _smoothed(points, triangles, num_fixed)
        triangles = _triangles(points, len(ring))
    assert _fill(points, triangles, len(ring), hole), f"the mesh of the spacing {spacing} does not fit around {hole}"
    return points, triangles


def _circle(hole: Hole, radius: float, number: int, *, turned: bool) -> FloatArray:
    """Points on a circle around the hole; turned by half of their distance."""
    angles = 2 * np.pi * (np.arange(number) + 0.5 * turned) / number
    return np.stack([hole.x + radius * np.cos(angles), hole.y + radius * np.sin(angles)], axis=1)


def _frame(spacing: float) -> FloatArray:
    """Points on the edge of the plate, its corners among them."""
    number = max(2, round(_SIDE / spacing))
    along, zero = np.arange(number) * (_SIDE / number), np.zeros(number)
    sides = [(along, zero), (zero + _SIDE, along), (_SIDE - along, zero + _SIDE), (zero, _SIDE - along)]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def _inner(hole: Hole, num_ring: int, spacing: float) -> FloatArray:
    """Points on no edge: rings, and the lattice behind them."""
    radius, apart = hole.radius, 2 * np.pi * hole.radius / num_ring
    found, turned = [], False
    while apart < spacing and radius < _SIDE:
        radius += apart * np.sqrt(3) / 2
        apart, turned = min(_GROWTH * apart, spacing), not turned
        found.append(_circle(hole, radius, round(2 * np.pi * radius / apart), turned=turned))
    height = spacing * np.sqrt(3) / 2
    rows, columns = np.meshgrid(np.arange(height, _SIDE, height), np.arange(spacing, _SIDE, spacing), indexing="ij")
    columns = columns - np.where(np.arange(len(rows)) % 2, spacing / 2, 0.0)[:, None]
    lattice = np.stack([columns.ravel(), rows.ravel()], axis=1)
    found.append(lattice[hole.distances(lattice) > radius + _APART * apart])
    points = np.concatenate(found)
    inside = np.minimum(points, _SIDE - points).min(axis=1) > _APART * spacing
    kept: FloatArray = points[inside]
    return kept


def _triangles(points: FloatArray, num_ring: int) -> npt.NDArray[Any]:
    """The Delaunay triangulation without the triangles of the hole, whose corners are all on its edge."""
    triangles = Delaunay(points).simplices
    triangles = triangles[~(triangles < num_ring).all(axis=1)]
    areas = _areas(points, triangles)
    triangles[areas < 0] = triangles[areas < 0][:, ::-1]
    kept: npt.NDArray[Any] = triangles[np.abs(areas) > _ROUNDING]
    return kept


def _areas(points: FloatArray, triangles: npt.NDArray[Any]) -> FloatArray:
    """Signed, positive if counter-clockwise."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    found: FloatArray = 0.5 * (x1 * y2 - x2 * y1)
    return found


def _smoothed(points: FloatArray, triangles: npt.NDArray[Any], num_fixed: int) -> FloatArray:
    """Each point that is on no edge in the middle of its neighbours."""
    sums, counts = np.zeros_like(points), np.zeros(len(points))
    for here, there in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
        np.add.at(sums, triangles[:, here], points[triangles[:, there]])
        np.add.at(counts, triangles[:, here], 1)
    moved = points.copy()
    moved[num_fixed:] = sums[num_fixed:] / counts[num_fixed:, None]
    return moved


def _fill(points: FloatArray, triangles: npt.NDArray[Any], num_ring: int, hole: Hole) -> bool:
    """Whether triangles fill the plate but for the polygon of the hole."""
    polygon = 0.5 * num_ring * hole.radius**2 * np.sin(2 * np.pi / num_ring)
    found = float(_areas(points, triangles).sum() + polygon)
    return abs(found - _SIDE**2) < _ROUNDING * len(points)
