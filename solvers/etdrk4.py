"""Exponential time differencing: the linear part of an equation exactly, the rest by Runge–Kutta of fourth order."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["ETDRK4", "ComplexArray"]

ComplexArray = npt.NDArray[np.complex128]

#: Points on the circle over which the coefficients are averaged; more change nothing in float64.
_NUM_CONTOUR_POINTS = 64


class ETDRK4:
    """A time step of dv/dt = c v + N(v, t), where each mode of v has a number c of its own.

    The linear part is integrated exactly, so that its stiffness does not bound the time step. Without one this is the
    classical Runge–Kutta scheme.

    The coefficients are differences such as (exp(z) − 1) / z, which lose all digits for small z. So they are averaged
    over a circle around z = c h, as they are analytic there.

    References: S. M. Cox and P. C. Matthews, "Exponential Time Differencing for Stiff Systems" (2002), equations 26–29;
    A.-K. Kassam and L. N. Trefethen, "Fourth-Order Time-Stepping for Stiff PDEs" (2005), section 2, for the circle.

    Args:
        linear: c of each mode, an array of any shape.
        time_step: h.
    """

    def __init__(self, linear: ComplexArray, time_step: float) -> None:
        z = linear * time_step
        circle = np.exp(2j * np.pi * (np.arange(_NUM_CONTOUR_POINTS) + 0.5) / _NUM_CONTOUR_POINTS)
        points = z[..., None] + circle
        e = np.exp(points)
        self._h = time_step
        self._whole, self._half = np.exp(z), np.exp(z / 2)
        self._to_half = time_step * ((np.exp(points / 2) - 1) / points).mean(axis=-1)
        self._first = time_step * ((-4 - points + e * (4 - 3 * points + points**2)) / points**3).mean(axis=-1)
        self._middle = time_step * (2 * (2 + points + e * (points - 2)) / points**3).mean(axis=-1)
        self._last = time_step * ((-4 - 3 * points - points**2 + e * (4 - points)) / points**3).mean(axis=-1)

    def advance(
        self, v: ComplexArray, time: float, nonlinear: Callable[[ComplexArray, float], ComplexArray]
    ) -> ComplexArray:
        """The modes after one time step.

        Args:
            v: the modes at `time`.
            time: where the step begins.
            nonlinear: N(v, t); called four times.
        """
        at_start = nonlinear(v, time)
        decayed = self._half * v
        a = decayed + self._to_half * at_start
        at_a = nonlinear(a, time + self._h / 2)
        b = decayed + self._to_half * at_a
        at_b = nonlinear(b, time + self._h / 2)
        c = self._half * a + self._to_half * (2 * at_b - at_start)
        at_c = nonlinear(c, time + self._h)
        following: ComplexArray = self._whole * v + self._first * at_start
        following += self._middle * (at_a + at_b) + self._last * at_c
        return following
