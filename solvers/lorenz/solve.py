"""The plug-in: the generator that the framework calls once for each simulation."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray, require_one_rank
from melissa_like.solvers.parameters import read_parameters, require_at_least_one, require_positive

__all__ = ["PARAMETERS", "solve"]

PARAMETERS = ("sigma", "rho", "beta", "initial_x", "initial_y", "initial_z")

_State = tuple[float, float, float]


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    num_steps: int = 500,
    time_step: float = 0.02,
    num_substeps: int = 4,
) -> Iterator[tuple[int, dict[str, FloatArray], float]]:
    """Follow one trajectory.

    Args:
        parameters: the six of the package's page.
        comm: anything with a `size`, which must be 1.
        num_steps: time steps to yield, with the initial state as the first one.
        time_step: Δt between two of them.
        num_substeps: Runge–Kutta steps in each; Δt / num_substeps of 0.01 or less follows the attractor well.

    Yields:
        `(step, {"state": array of shape [3]}, time)` for step = 0 .. num_steps − 1, at time = step · Δt. Each array is
        new.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, an option that cannot work, or several ranks.
        FloatingPointError: the state is not finite: the time step is too long for these parameters.
    """
    require_one_rank("lorenz", comm)
    numbers = read_parameters("lorenz", parameters, PARAMETERS, {})
    sigma, rho, beta, x, y, z = (numbers[name] for name in PARAMETERS)
    require_positive(time_step=time_step)
    require_at_least_one(num_steps=num_steps, num_substeps=num_substeps)
    state = (x, y, z)
    for step in range(num_steps):
        if step:
            state = _advance(state, sigma, rho, beta, time_step / num_substeps, num_substeps)
        yield step, {"state": np.array(state)}, step * time_step


# Python's own numbers: on three of them one operation of numpy costs more than all of these.
def _advance(state: _State, sigma: float, rho: float, beta: float, h: float, num_substeps: int) -> _State:
    """The state after `num_substeps` steps of length h with the classical Runge–Kutta scheme."""

    def slope(x: float, y: float, z: float) -> _State:
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

    x, y, z = state
    for _ in range(num_substeps):
        ax, ay, az = slope(x, y, z)
        bx, by, bz = slope(x + h / 2 * ax, y + h / 2 * ay, z + h / 2 * az)
        cx, cy, cz = slope(x + h / 2 * bx, y + h / 2 * by, z + h / 2 * bz)
        dx, dy, dz = slope(x + h * cx, y + h * cy, z + h * cz)
        x += h / 6 * (ax + 2 * (bx + cx) + dx)
        y += h / 6 * (ay + 2 * (by + cy) + dy)
        z += h / 6 * (az + 2 * (bz + cz) + dz)
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise FloatingPointError(
            f"the state is ({x}, {y}, {z}) with sigma {sigma:g}, rho {rho:g}, beta {beta:g}: shorten time_step, or "
            "raise num_substeps"
        )
    return x, y, z
