"""Decaying turbulence by exponax; what JAX compiles for the first simulation serves all others of the job."""

from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import exponax as ex
import jax

NUM_POINTS = 32
advance = eqx.filter_jit(lambda stepper, vorticity: stepper(vorticity))


def solve(parameters: Mapping[str, float], comm: Any, *, num_steps: int, dt: float) -> Iterator[tuple[Any, ...]]:
    """The vorticity on a periodic square, from random waves."""
    viscosity = jax.numpy.array(parameters["viscosity"])  # a float would be a constant, and compiled anew
    stepper = ex.stepper.NavierStokesVorticity(2, 1.0, NUM_POINTS, dt, diffusivity=viscosity)
    waves = ex.ic.RandomTruncatedFourierSeries(2, cutoff=4, max_one=True)
    vorticity = waves(NUM_POINTS, key=jax.random.key(int(2**31 * parameters["seed"])))
    for step in range(num_steps):
        yield step, {"vorticity": vorticity[0]}, step * dt
        vorticity = advance(stepper, vorticity)
