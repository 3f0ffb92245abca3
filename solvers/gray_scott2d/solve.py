"""The plug-in: the generator that the framework calls once for each simulation, on every rank of the job."""

import math
from collections.abc import Iterator, Mapping

from melissa_like.client import Part
from melissa_like.solvers.communicator import Communicator
from melissa_like.solvers.gray_scott2d.blocks import Block
from melissa_like.solvers.gray_scott2d.reaction_diffusion import ReactionDiffusion, largest_substep
from melissa_like.solvers.gray_scott2d.spots import initial_concentration
from melissa_like.solvers.parameters import (
    read_parameters,
    require_at_least_one,
    require_not_negative,
    require_positive,
)

__all__ = ["PARAMETERS", "solve"]

PARAMETERS = ("feed", "kill", "seed")


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    grid_size: int = 48,
    side: float = 0.75,
    num_steps: int = 40,
    time_step: float = 25.0,
    num_substeps: int | None = None,
    u_diffusivity: float = 2e-5,
    v_diffusivity: float = 1e-5,
    num_spots: int = 4,
    spot_width: float = 0.04,
) -> Iterator[tuple[int, dict[str, Part], float]]:
    """Simulate the square; every rank iterates, in step with the others.

    Args:
        parameters: `feed`, `kill` and `seed`; `u_diffusivity` and `v_diffusivity` too if they are drawn.
        comm: an mpi4py intracommunicator, or for one rank anything that has `rank` and `size`.
        grid_size: points along a side.
        side: length of the square's side; a pattern is resolved where side / grid_size is at most 1/64.
        num_steps: fields to send, the initial one among them.
        time_step: Δt between two of them.
        num_substeps: Heun's steps in each; None: as few as are stable.
        u_diffusivity: of u, unless it is a parameter.
        v_diffusivity: of v, unless it is a parameter.
        num_spots: of v at first.
        spot_width: least standard deviation of a spot; the greatest is twice as much.

    Yields:
        `(step, {"concentration": block}, time)` for step = 0 .. num_steps − 1, at time step · Δt. `block` is this
        rank's box of the field [2, grid_size, grid_size], u before v. Each array is new and read-only.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, or an option that cannot work, such as
            substeps too long to be stable.
        FloatingPointError: on every rank: a concentration is not finite.
    """
    options = {"u_diffusivity": u_diffusivity, "v_diffusivity": v_diffusivity}
    numbers = read_parameters("gray_scott2d", parameters, PARAMETERS, options)
    require_not_negative(**{name: numbers[name] for name in ("feed", "kill", *options)})
    require_positive(side=side, time_step=time_step, spot_width=spot_width)
    require_at_least_one(num_steps=num_steps)
    block = Block(comm, grid_size)
    y, x = block.coordinates()
    num_substeps = _stable(num_substeps, numbers, time_step, side / grid_size)
    reaction = ReactionDiffusion(
        initial_concentration(y, x, seed=numbers["seed"], num_spots=num_spots, width=spot_width, side=side),
        block,
        feed=numbers["feed"],
        kill=numbers["kill"],
        diffusivities=(numbers["u_diffusivity"], numbers["v_diffusivity"]),
        spacing=side / grid_size,
        substep=time_step / num_substeps,
    )
    for step in range(num_steps):
        if step:
            reaction.advance(num_substeps)
        yield step, {"concentration": Part(reaction.concentration, (0, *block.offset))}, step * time_step


def _stable(num_substeps: int | None, numbers: Mapping[str, float], time_step: float, spacing: float) -> int:
    """The number that was asked for, or the least that is stable."""
    diffusivity = max(numbers["u_diffusivity"], numbers["v_diffusivity"])
    longest = largest_substep(numbers["feed"], numbers["kill"], diffusivity, spacing)
    least = math.ceil(time_step / longest)
    if num_substeps is not None and num_substeps < least:
        raise ValueError(
            f"num_substeps is {num_substeps} in a time step of {time_step:g}; with points {spacing:.3g} apart and a "
            f"diffusivity of {diffusivity:g} a substep is stable up to {longest:.3g}: give {least} or more, "
            "or null, or shorten the time step"
        )
    return num_substeps or least
