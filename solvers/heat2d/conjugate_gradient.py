"""The linear system of one implicit time step, solved by conjugate gradients without a matrix.

The system A v = b is (4 + σ) v[i,j] − v[i−1,j] − v[i+1,j] − v[i,j−1] − v[i,j+1] = b[i,j], where v is 0 outside the
grid. It is symmetric with eigenvalues between σ and 8 + σ, which gives two bounds that are used here: a residual of
norm ρ means an error of norm at most ρ / σ, and the number of iterations grows at most like sqrt(1 + 8 / σ).

On a small grid a rank computes for microseconds and waits for the others much longer, above all when there are more
ranks than cores. So the iteration is that of Chronopoulos and Gear (1989, algorithm 2.2): one more vector (`s`, the
operator applied to `p`, by recurrence) than in the textbook, and in return both scalar products are of the same
two vectors and share one reduction. Per iteration a rank takes part in one reduction of two numbers and sends one row
to each neighbour. No preconditioner: the diagonal is constant, and a better one would have to communicate.
"""

import math

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.heat2d.rows import RowBlock

__all__ = ["ConjugateGradient"]

#: Iterations allowed, in units of sqrt(condition number); 20 reduce the error by more than float64 can tell.
_GENEROUS = 40


class ConjugateGradient:
    """Solves the system of this module again and again; its vectors are allocated once.

    Args:
        rows: this rank's part of the grid.
        shift: σ, positive.
    """

    def __init__(self, rows: RowBlock, shift: float) -> None:
        self._rows = rows
        self._diagonal = 4.0 + shift
        self._max_iterations = math.ceil(_GENEROUS * math.sqrt(1.0 + 8.0 / shift))
        # Only what the operator is applied to needs the neighbours' rows, and with this iteration that is always r.
        self._padded = np.zeros((rows.num_rows + 2, rows.grid_size))
        self._r = self._padded[1:-1]
        self._w, self._p, self._s, self._scratch = (np.zeros(rows.shape) for _ in range(4))
        self._partial = np.empty(2)

    def solve(self, x: FloatArray, b: FloatArray, *, max_residual: float) -> int:
        """Improve `x` in place until the residual's norm, over all ranks, is at most `max_residual`.

        Args:
            x: the initial guess, then the solution; this rank's rows.
            b: the right-hand side; this rank's rows.
            max_residual: bound for the 2-norm of b − A x.

        Returns:
            The number of iterations; 0 if the guess was good enough. The same on every rank.

        Blocks while other ranks have not called it.

        Raises:
            FloatingPointError: no convergence, on every rank: `x` or `b` is not finite, or the bound is below what
                rounding allows.
        """
        r, w, p, s, scratch = self._r, self._w, self._p, self._s, self._scratch
        r[:] = x
        self._apply()
        np.subtract(b, w, out=r)
        rr, rw = self._apply_and_reduce()
        alpha, beta = 0.0, 0.0
        for iteration in range(self._max_iterations):
            if rr <= max_residual**2:
                return iteration
            alpha = rr / (rw - beta * rr / alpha) if iteration else rr / rw
            np.add(r, np.multiply(p, beta, out=p), out=p)
            np.add(w, np.multiply(s, beta, out=s), out=s)
            np.add(x, np.multiply(p, alpha, out=scratch), out=x)
            np.subtract(r, np.multiply(s, alpha, out=scratch), out=r)
            previous_rr = rr
            rr, rw = self._apply_and_reduce()
            beta = rr / previous_rr
        raise FloatingPointError(
            f"the conjugate gradient has a residual of {math.sqrt(rr):g} after {self._max_iterations} iterations, "
            f"{max_residual:g} was asked for: check that the temperatures are finite, or loosen the tolerance"
        )

    def _apply(self) -> None:
        """Put A r into w."""
        self._rows.exchange(self._padded)
        r, w = self._r, self._w
        np.multiply(r, self._diagonal, out=w)
        w -= self._padded[:-2]
        w -= self._padded[2:]
        w[:, 1:] -= r[:, :-1]
        w[:, :-1] -= r[:, 1:]

    def _apply_and_reduce(self) -> tuple[float, float]:
        """Put A r into w and return (r, r) and (r, w)."""
        self._apply()
        self._partial[0] = np.vdot(self._r, self._r)
        self._partial[1] = np.vdot(self._r, self._w)
        return self._rows.totals(self._partial)
