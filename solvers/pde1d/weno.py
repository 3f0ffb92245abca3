"""The change of cell averages by the flux u², of fifth order where u is smooth, without oscillations at shocks."""

import numpy as np
import numpy.typing as npt

from melissa_like.solvers.communicator import FloatArray

__all__ = ["SquareFlux"]

_TINY = 1e-40


class SquareFlux:
    """∂(u²)/∂x on a ring of equal cells: a finite-volume scheme.

    The two values of u at a face, seen from either side, are reconstructed from the averages of five cells each
    (WENO-Z: the weights of three parabolas, of which those that cross a shock get next to none). The flux between them
    is Godunov's, that of the exact solution of the Riemann problem. So shocks have the right speed, and a rarefaction
    spreads where u changes its sign.

    References: G.-S. Jiang and C.-W. Shu, "Efficient Implementation of Weighted ENO Schemes" (1996); R. Borges, M.
    Carmona, B. Costa and W. S. Don, "An improved weighted essentially non-oscillatory scheme" (2008), for the weights.

    Args:
        num_cells: cells of the ring, at least five.
        cell_size: length of each.

    Raises:
        ValueError: fewer cells than a reconstruction takes.
    """

    def __init__(self, num_cells: int, cell_size: float) -> None:
        if num_cells < len(_STENCIL):
            raise ValueError(f"a ring of {num_cells} cells: the flux needs {len(_STENCIL)} or more")
        faces = np.arange(num_cells)
        # For the face at the right end of each cell: the five cells as seen from the left, and mirrored from the right.
        self._cells: npt.NDArray[np.intp] = np.stack(
            [(faces + _STENCIL[:, None]) % num_cells, (faces + 1 - _STENCIL[:, None]) % num_cells], axis=1
        )
        self._cell_size = cell_size

    def divergence(self, averages: FloatArray) -> FloatArray:
        """The average of ∂(u²)/∂x over each cell, from the averages of u, shape [num_cells]."""
        left, right = _at_face(averages[self._cells])
        # Of Burgers' equation u_t + (u²)_x = 0: what comes from the left moves right if positive, and the other way.
        flux: FloatArray = np.square(np.maximum(np.maximum(left, 0.0), np.maximum(-right, 0.0)))
        change = np.empty_like(flux)
        np.subtract(flux[1:], flux[:-1], out=change[1:])
        change[0] = flux[0] - flux[-1]
        change /= self._cell_size
        return change


_STENCIL = np.arange(-2, 3)


def _at_face(cells: FloatArray) -> FloatArray:
    """U at the face behind the middle one of five cells, shape [5, ...] → [...]."""
    v0, v1, v2, v3, v4 = cells
    d1, d2 = v1 - v2, v3 - v2
    c0 = v0 - 2 * v1 + v2
    c1 = d1 + d2
    c2 = v2 - 2 * v3 + v4
    rough0 = 13 / 12 * c0 * c0 + 0.25 * np.square(v0 - 4 * v1 + 3 * v2)
    rough1 = 13 / 12 * c1 * c1 + 0.25 * np.square(d1 - d2)
    rough2 = 13 / 12 * c2 * c2 + 0.25 * np.square(3 * v2 - 4 * v3 + v4)
    spread = np.abs(rough0 - rough2)
    w0 = 0.1 * (1 + np.square(spread / (rough0 + _TINY)))
    w1 = 0.6 * (1 + np.square(spread / (rough1 + _TINY)))
    w2 = 0.3 * (1 + np.square(spread / (rough2 + _TINY)))
    parabolas = w0 * (2 * v0 - 7 * v1 + 11 * v2) + w1 * (5 * v2 - v1 + 2 * v3) + w2 * (2 * v2 + 5 * v3 - v4)
    value: FloatArray = parabolas / (6 * (w0 + w1 + w2))
    return value
