"""The plug-in: the generator that the framework calls once for each simulation, on every rank of the job."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray
from melissa_like.solvers.heat2d.heat_equation import Edges, HeatEquation
from melissa_like.solvers.heat2d.rows import RowBlock

__all__ = ["PARAMETERS", "heat_equation", "solve"]

PARAMETERS = (
    "initial_temperature",
    "left_temperature",
    "right_temperature",
    "bottom_temperature",
    "top_temperature",
)
#: Below this the rounding errors of float64 are larger than what is asked for.
_SMALLEST_TOLERANCE = 1e-14


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    grid_size: int = 32,
    num_steps: int = 100,
    time_step: float = 0.01,
    diffusivity: float = 1.0,
    tolerance: float = 1e-8,
) -> Iterator[tuple[int, dict[str, FloatArray], float]]:
    """Simulate the square; every rank iterates, in step with the others.

    Args:
        parameters: the five temperatures of the package's page, in kelvin.
        comm: an mpi4py intracommunicator, or for one rank anything that has `rank` and `size`.
        grid_size: interior points along a side; at least one per rank.
        num_steps: time steps to compute.
        time_step: Δt; with a diffusivity of 1 and 100 steps, 0.01 leads to the steady state.
        diffusivity: α; only its product with `time_step` matters.
        tolerance: largest root mean square error of one linear solution, relative to the largest of the five
            temperatures. 1e-8 is below what a field rounded to float32 can show.

    Yields:
        `(step, {"temperature": rows}, time)` for step = 0 .. num_steps − 1: the field after the time step, so that step
        k is at time (k + 1) Δt and the uniform initial field, which would teach a surrogate nothing, is not among
        them. `rows` has shape (rows of this rank, grid_size); the ranks' blocks follow one another in rank order. Each
        array is new and read-only, later steps do not change it.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, or an option that cannot work.
        FloatingPointError: the linear system could not be solved.
    """
    heat = heat_equation(
        parameters, comm, grid_size=grid_size, time_step=time_step, diffusivity=diffusivity, tolerance=tolerance
    )
    for step in range(num_steps):
        heat.advance()
        yield step, {"temperature": heat.temperature}, (step + 1) * time_step


def heat_equation(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    grid_size: int,
    time_step: float,
    diffusivity: float,
    tolerance: float,
) -> HeatEquation:
    """This rank's part of the square at time 0; arguments and `Raises` as in `solve`."""
    if set(parameters) != set(PARAMETERS):
        raise ValueError(
            f"heat2d received the parameters {', '.join(sorted(parameters)) or '(none)'}: give exactly "
            f"{', '.join(PARAMETERS)}"
        )
    if not _SMALLEST_TOLERANCE <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}: write a number from {_SMALLEST_TOLERANCE} to 1, such as 1e-8")
    initial, left, right, bottom, top = temperatures = [float(parameters[name]) for name in PARAMETERS]
    if not all(math.isfinite(temperature) for temperature in temperatures):
        raise ValueError(f"heat2d received the temperatures {dict(parameters)}: each must be a finite number")
    rows = RowBlock(comm, grid_size)
    return HeatEquation(
        np.full(rows.shape, initial),
        Edges(left=left, right=right, bottom=bottom, top=top),
        rows,
        time_step=time_step,
        diffusivity=diffusivity,
        accuracy=tolerance * (max(abs(temperature) for temperature in temperatures) or 1.0),
    )
