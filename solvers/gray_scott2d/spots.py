"""What a simulation begins with: round spots of v in a square full of u, their places and widths from a seed."""

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.seeds import generator

__all__ = ["initial_concentration"]

#: Of u and v in the middle of a spot, as in Pearson's square; elsewhere u = 1 and v = 0.
_INSIDE = (0.5, 0.25)


def initial_concentration(
    y: FloatArray, x: FloatArray, *, seed: float, num_spots: int, width: float, side: float
) -> FloatArray:
    """The concentrations u and v at time 0, smooth and periodic: [2, rows, columns].

    A spot is a Gaussian whose standard deviation lies between `width` and twice as much. Where spots overlap it is
    never more of v, or less of u, than in the middle of one. The spots are drawn before anything is known of the grid:
    a finer grid, or another decomposition, shows the same function.

    Args:
        y: of the rows, as shares of the side, [rows, 1].
        x: of the columns, [1, columns].
        seed: the simulation's.
        num_spots: how many.
        width: least standard deviation of a spot.
        side: of the square.
    """
    spots = generator(seed, "initial").random((num_spots, 3))
    background = np.ones(np.broadcast_shapes(y.shape, x.shape))
    for row, column, size in spots:
        background *= 1.0 - _gaussian(y, row, size, width / side) * _gaussian(x, column, size, width / side)
    spot = 1.0 - background
    return np.stack([1.0 - (1.0 - _INSIDE[0]) * spot, _INSIDE[1] * spot])


def _gaussian(points: FloatArray, centre: float, size: float, width: float) -> FloatArray:
    """Along one axis, as seen from the nearest image of the centre."""
    distance = (points - centre + 0.5) % 1.0 - 0.5
    values: FloatArray = np.exp(-0.5 * (distance / ((1.0 + size) * width)) ** 2)
    return values
