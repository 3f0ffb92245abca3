"""The plug-in for the combined equation: the generator that the framework calls once for each simulation."""

from collections.abc import Iterator, Mapping

from melissa_like.solvers.communicator import Communicator, FloatArray, require_one_rank
from melissa_like.solvers.parameters import read_parameters
from melissa_like.solvers.pde1d.combined_equation import CombinedEquation
from melissa_like.solvers.pde1d.sines import draw_sines
from melissa_like.solvers.pde1d.times import time_between_steps
from melissa_like.solvers.seeds import generator

__all__ = ["solve"]


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    num_points: int = 100,
    num_steps: int = 250,
    end_time: float = 4.0,
    refinement: int = 2,
    length: float = 16.0,
    alpha: float = 1.0,
    beta: float = 0.0,
    gamma: float = 0.0,
    amplitude: float = 0.5,
    forced: bool = True,
    num_waves: int = 5,
    largest_frequency: float = 0.4,
    largest_wavenumber: int = 3,
) -> Iterator[tuple[int, dict[str, FloatArray], float]]:
    """Simulate one initial condition with its forcing.

    Args:
        parameters: `seed`, and of `alpha`, `beta`, `gamma`, `amplitude` those that differ between simulations; these
            take the place of the option of that name.
        comm: anything with a `size`, which must be 1.
        num_points: cells of a field that is sent.
        num_steps: time steps to yield, with the initial condition as the first one.
        end_time: time of the last one.
        refinement: cells of the computation in each cell that is sent.
        length: L, of the ring.
        alpha: α, at least 0.
        beta: β, at least 0.
        gamma: γ.
        amplitude: the largest A of the waves.
        forced: whether the sum of sines drives u; it is the initial condition in any case.
        num_waves: J.
        largest_frequency: the largest ω.
        largest_wavenumber: the largest ℓ.

    Yields:
        `(step, {"u": array of shape [num_points]}, time)` for step = 0 .. num_steps − 1, time from 0 to end_time: the
        averages of u over the cells. Each array is new.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, an option that cannot work, or several ranks.
        FloatingPointError: the field is not finite.
    """
    require_one_rank("pde1d", comm)
    options = {"alpha": alpha, "beta": beta, "gamma": gamma, "amplitude": amplitude}
    values = read_parameters("pde1d", parameters, ["seed"], options)
    time_step = time_between_steps(num_steps, end_time)
    num_cells = _num_cells(num_points, refinement, largest_wavenumber)
    sines = draw_sines(
        generator(values["seed"], "sines"),
        num_waves=num_waves,
        amplitude=values["amplitude"],
        largest_frequency=largest_frequency,
        largest_wavenumber=largest_wavenumber,
        length=length,
    )
    equation = CombinedEquation(
        sines.averages(num_cells, 0.0),
        length=length,
        alpha=values["alpha"],
        beta=values["beta"],
        gamma=values["gamma"],
        forcing=(lambda time: sines.modes(num_cells, time)) if forced else None,
    )
    for step in range(num_steps):
        if step:
            equation.advance(time_step)
        yield step, {"u": equation.averages.reshape(num_points, refinement).mean(axis=1)}, step * time_step


def _num_cells(num_points: int, refinement: int, largest_wavenumber: int) -> int:
    if num_points < 1 or refinement < 1:
        raise ValueError(f"num_points is {num_points} and refinement {refinement}: write 1 or more for both")
    num_cells = num_points * refinement
    if num_cells <= 2 * largest_wavenumber:
        raise ValueError(
            f"num_points × refinement is {num_cells}: {largest_wavenumber} waves on the ring need more than "
            f"{2 * largest_wavenumber} cells"
        )
    return num_cells
