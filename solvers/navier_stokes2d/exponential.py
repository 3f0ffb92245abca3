"""Exponential time differencing of fourth order: the weights of one time step."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from melissa_like.solvers.communicator import FloatArray

__all__ = ["Weights", "weights"]

#: Points of the circle over which a weight is averaged.
_NUM_POINTS = 32


@dataclass(frozen=True, slots=True)
class Weights:
    """What a mode's value and its rates of change are multiplied by.

    Attributes:
        half_decay: exp(c Δt / 2) of the linear rate c.
        half_rate: (exp(c Δt / 2) − 1) / c.
        decay: exp(c Δt).
        first: of the rate at the beginning.
        middle: of each of the two rates in the middle.
        last: of the rate at the end.
    """

    half_decay: FloatArray
    half_rate: FloatArray
    decay: FloatArray
    first: FloatArray
    middle: FloatArray
    last: FloatArray


def weights(linear_rate: FloatArray, time_step: float) -> Weights:
    """Weights of ETDRK4 (Cox and Matthews 2002, equations 26 to 29) for ∂w/∂t = c w + N(w).

    As written there they lose all digits where c Δt is small. They are computed as means over a circle of radius 1
    around c Δt (Kassam and Trefethen 2005, section 3); a mean of an analytic function over a circle is its value in the
    middle.

    Args:
        linear_rate: c of each mode, real.
        time_step: Δt.
    """
    angles = np.pi * (np.arange(_NUM_POINTS) + 0.5) / _NUM_POINTS
    # The other half of the circle has the conjugate values.
    z = time_step * linear_rate[..., None] + np.exp(1j * angles)
    exp = np.exp(z)

    def mean(values: npt.NDArray[np.complex128]) -> FloatArray:
        average: FloatArray = values.mean(axis=-1).real
        return time_step * average

    return Weights(
        half_decay=np.exp(0.5 * time_step * linear_rate),
        half_rate=mean((np.exp(0.5 * z) - 1) / z),
        decay=np.exp(time_step * linear_rate),
        first=mean((-4 - z + exp * (4 - 3 * z + z**2)) / z**3),
        middle=mean(2 * (2 + z + exp * (z - 2)) / z**3),
        last=mean((-4 - 3 * z - z**2 + exp * (4 - z)) / z**3),
    )
