"""Points and who is near whom: computed once, when a network is built."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from melissa_like.models.grids import grid_points

__all__ = ["Graph", "near_points", "points_of"]

#: Distances that differ by less than this share are equal: those of a regular grid are, up to rounding.
_ROUNDING = 1e-6

Positions = str | Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Graph:
    """The neighbours of each of N points, as many columns as the richest point has.

    Attributes:
        neighbours: their numbers, [N, K]; whatever follows the last neighbour of a point has the weight 0.
        weights: 1 / number of neighbours, [N, K].
        offsets: from the neighbour to the point, [N, K, d], in units of their root mean square length.
    """

    neighbours: Tensor
    weights: Tensor
    offsets: Tensor


def points_of(
    grid: tuple[int, ...], positions: Positions | None, lengths: Sequence[float] | None, *, periodic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the points of a field lie, [N, d], the lengths of the domain, [d], and the places that a network sees.

    All in double precision. Places, [N, d], are positions in units of the lengths; unless the domain is periodic they
    count from the lowest position of each axis. What lengths hold lies from 0 to 1. An axis on which all positions
    are the same has the length 1 if none is given, and the places 0.

    Args:
        grid: of the field.
        positions: of its points in the order of the field, [N, d]: numbers, or the path of an .npy file; None: a
            regular grid of the lengths.
        lengths: of the domain along each axis; None: 1 each, or what the positions cover if they are not periodic.
        periodic: whether the domain is; then positions lie from 0 to below the length.

    Raises:
        ValueError: as many positions or lengths as do not fit, or positions outside of a periodic domain.
        OSError: the file cannot be read.
    """
    if positions is None:
        points = grid_points(grid, periodic=periodic).flatten(1).T
    else:
        given = np.load(Path(positions)) if isinstance(positions, str) else np.asarray(positions)
        points = torch.as_tensor(np.asarray(given, dtype=np.float64))
        if points.ndim != 2 or len(points) != int(np.prod(grid)):
            raise ValueError(
                f"positions have the shape {tuple(points.shape)} and the fields lie on {grid}: give [N, d], one row "
                f"for each of the {int(np.prod(grid))} points"
            )
    dimension = points.shape[1]
    if lengths is not None and (len(lengths) != dimension or min(lengths) <= 0):
        raise ValueError(f"lengths are {list(lengths)} for points of {dimension} axes: give one above 0 for each axis")
    if lengths is None and positions is not None and not periodic:
        covered = points.max(0).values - points.min(0).values
        sides = torch.where(covered > 0, covered, 1.0)
    else:
        sides = torch.as_tensor([1.0] * dimension if lengths is None else list(lengths), dtype=torch.float64)
    if positions is None:
        points = points * sides
    elif periodic and not ((points >= 0) & (points < sides)).all():
        raise ValueError(
            f"positions reach from {points.min(0).values.tolist()} to {points.max(0).values.tolist()} in a periodic "
            f"domain of the lengths {sides.tolist()}: give lengths that hold them, from 0, or periodic: false"
        )
    return points, sides, (points if periodic else points - points.min(0).values) / sides


def near_points(
    points: Tensor, sides: Tensor, *, neighbours: int | None, radius: float | None, periodic: bool
) -> Graph:
    """Which points are near each point; itself is not.

    Args:
        points: [N, d].
        sides: lengths of the domain, [d].
        neighbours: how many are taken at least; those as far as the last of them are taken too, so that on a regular
            grid no direction is preferred.
        radius: within which all are taken, instead.
        periodic: whether distances go around the domain.

    Raises:
        ValueError: neither or both of neighbours and radius, too many neighbours, or a point without any.
    """
    from scipy.spatial import cKDTree  # takes a while, and only graphs need it

    if (neighbours is None) is (radius is None):
        raise ValueError(f"neighbours is {neighbours} and radius is {radius}: give one of them, and null for the other")
    tree = cKDTree(points.numpy(), boxsize=sides.numpy() if periodic else None)
    if neighbours is None:
        reach = np.full(len(points), radius)
    else:
        if not 1 <= neighbours < len(points):
            raise ValueError(f"neighbours is {neighbours} of {len(points)} points: give 1 to {len(points) - 1}")
        reach = tree.query(points.numpy(), k=[neighbours + 1])[0][:, 0]
    around = tree.query_ball_point(points.numpy(), reach * (1 + _ROUNDING), return_sorted=True)
    near = [[other for other in others if other != own] for own, others in enumerate(around)]
    if not all(near):
        alone = next(own for own, others in enumerate(near) if not others)
        raise ValueError(f"point {alone} has no other within the radius {radius}: give a larger one, or neighbours")
    return _padded(near, points, sides if periodic else None)


def _padded(near: list[list[int]], points: Tensor, period: Tensor | None) -> Graph:
    most = max(map(len, near))
    neighbours = torch.tensor([others + [own] * (most - len(others)) for own, others in enumerate(near)])
    weights = torch.tensor([[1 / len(others)] * len(others) + [0.0] * (most - len(others)) for others in near])
    offsets = points[:, None] - points[neighbours]
    if period is not None:
        offsets = offsets - period * torch.round(offsets / period)
    lengths = offsets.square().sum(-1)[weights > 0]
    return Graph(neighbours, weights, (offsets / lengths.mean().sqrt()).float())
