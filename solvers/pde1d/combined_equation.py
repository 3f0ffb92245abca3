"""The combined equation from one time to a later one: finite volumes for u², exactly what is linear."""

import math
from collections.abc import Callable

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ETDRK4, ComplexArray
from melissa_like.solvers.pde1d.weno import SquareFlux

__all__ = ["CombinedEquation"]

#: Cells that a wave may cross in one step; the scheme is stable up to about 1.4.
_COURANT_NUMBER = 0.8


class CombinedEquation:
    """∂u/∂t + ∂/∂x (α u² − β ∂u/∂x + γ ∂²u/∂x²) = δ(t, x) on a ring of equal cells.

    What is kept is the Fourier transform of the cells' averages: there diffusion and dispersion are one number per
    mode, which is integrated exactly, so only the waves' speed bounds a step. u² is a finite-volume flux on the cells.

    Args:
        initial: averages of u over the cells at time 0, shape [num_cells]; it is copied.
        length: of the ring.
        alpha: α, at least 0: with −u in place of u it is the equation of −α.
        beta: β, at least 0.
        gamma: γ.
        forcing: from a time, the `rfft` of the averages of δ over the cells; None: no forcing.

    Attributes:
        time: of the field now.

    Raises:
        ValueError: a coefficient for which there is no solution, or too few cells.
    """

    def __init__(
        self,
        initial: FloatArray,
        *,
        length: float,
        alpha: float,
        beta: float,
        gamma: float,
        forcing: Callable[[float], ComplexArray] | None = None,
    ) -> None:
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}: it must be 0 or more")
        if not math.isfinite(gamma):
            raise ValueError(f"gamma is {gamma}: it must be a finite number")
        self._num_cells = len(initial)
        self._cell_size = length / self._num_cells
        self._flux = SquareFlux(self._num_cells, self._cell_size)
        self._alpha = alpha
        self._forcing = forcing
        k = 2 * np.pi / length * np.arange(self._num_cells // 2 + 1)
        dispersion = gamma * k**3
        if self._num_cells % 2 == 0:
            dispersion[-1] = 0.0  # the mode that alternates has no direction to move in
        self._linear = -beta * k**2 + 1j * dispersion
        self._steps: dict[float, ETDRK4] = {}
        self._modes = np.fft.rfft(initial)
        self.time = 0.0

    @property
    def averages(self) -> FloatArray:
        """The averages of u over the cells now, shape [num_cells]; a new array."""
        return np.fft.irfft(self._modes, self._num_cells)

    def advance(self, duration: float) -> None:
        """Move on, in equal steps that no wave outruns.

        Raises:
            FloatingPointError: the field is not finite, before or after it.
        """
        self._require_finite()
        speed = 2 * self._alpha * float(np.abs(self.averages).max())
        num_steps = max(1, math.ceil(speed * duration / (_COURANT_NUMBER * self._cell_size)))
        h = duration / num_steps
        if h not in self._steps:
            self._steps[h] = ETDRK4(self._linear, h)
        start = self.time
        for step in range(num_steps):
            self._modes = self._steps[h].advance(self._modes, start + step * h, self._nonlinear)
        self.time = start + duration
        self._require_finite()

    def _require_finite(self) -> None:
        if not np.isfinite(self._modes).all():
            raise FloatingPointError(
                f"the field is not finite at time {self.time:g}: check the parameters, or refine the grid"
            )

    def _nonlinear(self, modes: ComplexArray, time: float) -> ComplexArray:
        """All but the linear part, as modes."""
        if self._alpha:
            change = -self._alpha * np.fft.rfft(self._flux.divergence(np.fft.irfft(modes, self._num_cells)))
        else:
            change = np.zeros_like(modes)
        return change if self._forcing is None else change + self._forcing(time)
