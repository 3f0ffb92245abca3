"""The heat equation from one time step to the next: backward Euler."""

from dataclasses import dataclass

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.heat2d.conjugate_gradient import ConjugateGradient
from melissa_like.solvers.heat2d.rows import RowBlock

__all__ = ["Edges", "HeatEquation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Edges:
    """The temperatures that the four edges are held at, in kelvin."""

    left: float
    right: float
    bottom: float
    top: float


class HeatEquation:
    """A temperature field that `advance` moves on in time.

    Multiplied by σ = h² / (α Δt), backward Euler reads (4 + σ) u' − Σ neighbours of u' = σ u, where neighbours on an
    edge are known and go to the right-hand side. The system is solved from the guess u' = u. Extrapolating the last two
    fields is the obvious alternative and takes more iterations (39 instead of 33 a step, 100 × 100 points, 100 steps):
    it brings the slow modes closer, but enlarges the error of the fast ones, which the iteration is slow to remove.

    Args:
        initial: this rank's rows of the field at time 0, shape `rows.shape`, in kelvin; it is copied.
        edges: temperatures of the edges.
        rows: this rank's part of the grid.
        time_step: Δt, in units of side² / diffusivity where the diffusivity is 1.
        diffusivity: α.
        accuracy: largest root mean square error of one solution of the linear system, in kelvin.

    Attributes:
        temperature: this rank's rows of the field now. `advance` puts a new array in its place; arrays are read-only.

    Raises:
        ValueError: a time step, a diffusivity or an accuracy that is not positive, or a field of another shape.
    """

    def __init__(
        self,
        initial: FloatArray,
        edges: Edges,
        rows: RowBlock,
        *,
        time_step: float,
        diffusivity: float = 1.0,
        accuracy: float,
    ) -> None:
        for name, value in (("time_step", time_step), ("diffusivity", diffusivity), ("accuracy", accuracy)):
            if not value > 0:
                raise ValueError(f"{name} is {value}: it must be positive")
        if initial.shape != rows.shape:
            raise ValueError(f"the initial field has shape {initial.shape}: this rank's rows have shape {rows.shape}")
        h = 1.0 / (rows.grid_size + 1)
        self._shift = h**2 / (diffusivity * time_step)
        self._edges = _neighbours_on_edges(edges, rows)
        self._linear_system = ConjugateGradient(rows, self._shift)
        # An error is at most the residual divided by the shift; the 2-norm is grid_size times the root mean square.
        self._max_residual = accuracy * rows.grid_size * self._shift
        self._right_hand_side = np.empty(rows.shape)
        self.temperature = _read_only(np.array(initial, dtype=np.float64))

    def advance(self) -> int:
        """Move on by one time step; every rank calls it, and blocks while another one has not.

        Returns:
            The number of conjugate-gradient iterations it took.

        Raises:
            FloatingPointError: the field is not finite.
        """
        b = self._right_hand_side
        np.multiply(self.temperature, self._shift, out=b)
        b += self._edges
        following = self.temperature.copy()
        num_iterations = self._linear_system.solve(following, b, max_residual=self._max_residual)
        self.temperature = _read_only(following)
        return num_iterations


def _neighbours_on_edges(edges: Edges, rows: RowBlock) -> FloatArray:
    """For each point the sum of its neighbours that lie on an edge."""
    total = np.zeros(rows.shape)
    total[:, 0] += edges.left
    total[:, -1] += edges.right
    if rows.is_bottom:
        total[0] += edges.bottom
    if rows.is_top:
        total[-1] += edges.top
    return total


def _read_only(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
