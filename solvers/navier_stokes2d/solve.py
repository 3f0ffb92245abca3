"""The plug-in: the generator that the framework calls once for each simulation, on every rank of the job."""

import math
from collections.abc import Iterator, Mapping

from melissa_like.solvers.communicator import Communicator, FloatArray
from melissa_like.solvers.navier_stokes2d.functions import FORCINGS, LARGEST_RANDOM_WAVENUMBER, initial_vorticity
from melissa_like.solvers.navier_stokes2d.slabs import Slabs
from melissa_like.solvers.navier_stokes2d.vorticity import Vorticity
from melissa_like.solvers.parameters import (
    read_parameters,
    require_at_least_one,
    require_not_negative,
    require_positive,
)

__all__ = ["PARAMETERS", "solve"]

PARAMETERS = ("seed",)


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    grid_size: int = 48,
    refinement: int = 1,
    num_steps: int = 40,
    time_step: float = 0.5,
    spin_up: float = 0.0,
    num_substeps: int | None = None,
    viscosity: float = 1e-3,
    drag: float = 0.0,
    forcing: str = "kolmogorov",
    forcing_amplitude: float = 1.0,
    forcing_wavenumber: int = 2,
    send_forcing: bool = False,
    initial_amplitude: float = 1.0,
    initial_inverse_length: float = 7.0,
) -> Iterator[tuple[int, dict[str, FloatArray], float]]:
    """Simulate the square; every rank iterates, in step with the others.

    Args:
        parameters: `seed`; and `viscosity`, `drag`, `forcing_amplitude`, `initial_amplitude` if they are drawn.
        comm: an mpi4py intracommunicator, or for one rank anything that has `rank` and `size`.
        grid_size: points along a side of the fields that are sent.
        refinement: how many times as many points along a side are computed; the values at every so many are sent.
        num_steps: fields to send.
        time_step: Δt between two of them.
        spin_up: time before the first of them, in which the random field becomes a flow; 0: the first is random.
        num_substeps: steps of the method in each; None: adapted to the speed.
        viscosity: ν, unless it is a parameter.
        drag: μ, unless it is a parameter.
        forcing: "kolmogorov", "diagonal" or "random".
        forcing_amplitude: a, unless it is a parameter.
        forcing_wavenumber: m, waves of the forcing along a side; up to 16 if it is random.
        send_forcing: whether each step has the field `forcing` too: a surrogate needs it where it is random.
        initial_amplitude: root mean square of the initial vorticity, over many seeds, unless it is a parameter.
        initial_inverse_length: τ; structures of the initial vorticity are about 2π / τ long.

    Yields:
        `(step, {"vorticity": rows}, time)` for step = 0 .. num_steps − 1, at time spin_up + step · Δt. `rows` has
        shape (rows of this rank, grid_size); the ranks' blocks follow one another in rank order. Each array is new.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, or an option that cannot work.
        FloatingPointError: on every rank: the given substeps are too long to be stable, or the field is not finite.
    """
    numbers = _numbers(
        parameters,
        {
            "viscosity": viscosity,
            "drag": drag,
            "forcing_amplitude": forcing_amplitude,
            "initial_amplitude": initial_amplitude,
        },
    )
    require_positive(time_step=time_step)
    require_not_negative(spin_up=spin_up)
    require_at_least_one(num_steps=num_steps, refinement=refinement)
    _check(num_substeps, forcing)
    slabs = Slabs(comm, grid_size * refinement, refinement)
    if not 1 <= forcing_wavenumber <= slabs.largest_wavenumber:
        raise ValueError(
            f"forcing_wavenumber is {forcing_wavenumber}: write a whole number from 1 to {slabs.largest_wavenumber}, "
            f"the largest that {grid_size * refinement} computed points along a side resolve"
        )
    if forcing == "random" and forcing_wavenumber > LARGEST_RANDOM_WAVENUMBER:
        raise ValueError(
            f"forcing_wavenumber is {forcing_wavenumber}: a random forcing has at most {LARGEST_RANDOM_WAVENUMBER} "
            "waves along a side; write that or less, or take another forcing"
        )
    seed, amplitude = numbers["seed"], numbers["forcing_amplitude"]
    force = FORCINGS[forcing](slabs, amplitude, forcing_wavenumber, seed)
    flow = Vorticity(
        initial_vorticity(
            slabs, seed=seed, amplitude=numbers["initial_amplitude"], inverse_length=initial_inverse_length
        ),
        force,
        slabs,
        viscosity=numbers["viscosity"],
        drag=numbers["drag"],
    )
    sent = (slice(None, None, refinement),) * 2
    constant = {"forcing": slabs.to_points(force[None])[0][sent].copy()} if send_forcing else {}
    # In pieces of about a time step, since substeps are chosen at the speed at the beginning of each.
    num_pieces = math.ceil(spin_up / time_step)
    for _ in range(num_pieces):
        flow.advance(spin_up / num_pieces, num_substeps)
    for step in range(num_steps):
        if step:
            flow.advance(time_step, num_substeps)
        yield step, {"vorticity": flow.points()[sent].copy(), **constant}, spin_up + step * time_step


def _numbers(parameters: Mapping[str, float], options: Mapping[str, float]) -> dict[str, float]:
    numbers = read_parameters("navier_stokes2d", parameters, PARAMETERS, options)
    require_not_negative(viscosity=numbers["viscosity"], drag=numbers["drag"])
    return numbers


def _check(num_substeps: int | None, forcing: str) -> None:
    if num_substeps is not None and num_substeps < 1:
        raise ValueError(f"num_substeps is {num_substeps}: write 1 or more, or null, which adapts it to the speed")
    if forcing not in FORCINGS:
        raise ValueError(f"forcing is {forcing!r}: write {', '.join(FORCINGS)}")
