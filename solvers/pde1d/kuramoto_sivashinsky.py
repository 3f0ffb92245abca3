"""The Kuramoto–Sivashinsky equation, which is chaotic in space and time: the plug-in and its numerics.

Equation: ∂u/∂t + u ∂u/∂x + ∂²u/∂x² + ν ∂⁴u/∂x⁴ = 0 on a ring of length L. Long waves grow and short ones decay;
u ∂u/∂x carries what grows to what decays.

Discretisation: Fourier modes, u² without aliasing (the highest third of the modes is left out of it), in time ETDRK4:
the fourth derivative is integrated exactly. Solutions are smooth, so the error in space is next to nothing once the
waves are resolved. float64.

Boundary convention: periodic. Value j of the field `u`, of shape [num_points], is u at x = j L / num_points. Step k is
at time spin_up + k end_time / (num_steps − 1); step 0 is the initial condition, or what became of it after `spin_up`.

Parameters: `seed`, from which the initial condition is drawn, a sum of sines Σ A sin(2π ℓ x / L + φ); and of
`viscosity` (ν) and `amplitude` those that differ between simulations. Good values: the defaults. The chaos is fully
there at about time 50, with a root mean square of 1.3; a difference grows by a factor of e in about 10 units of time.

References: Y. Kuramoto, "Diffusion-Induced Chaos in Reaction Systems" (1978); A.-K. Kassam and L. N. Trefethen,
"Fourth-Order Time-Stepping for Stiff PDEs" (2005), section 4.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray, require_one_rank
from melissa_like.solvers.etdrk4 import ETDRK4, ComplexArray
from melissa_like.solvers.parameters import read_parameters, require_not_negative
from melissa_like.solvers.pde1d.sines import draw_sines
from melissa_like.solvers.pde1d.times import time_between_steps
from melissa_like.solvers.seeds import generator

__all__ = ["KuramotoSivashinsky", "kuramoto_sivashinsky"]


def kuramoto_sivashinsky(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    num_points: int = 128,
    num_steps: int = 201,
    end_time: float = 100.0,
    spin_up: float = 0.0,
    length: float = 64.0,
    viscosity: float = 1.0,
    amplitude: float = 0.5,
    num_waves: int = 10,
    largest_wavenumber: int = 3,
) -> Iterator[tuple[int, dict[str, FloatArray], float]]:
    """Simulate one initial condition.

    Args:
        parameters: `seed`, and of `viscosity`, `amplitude` those that differ between simulations; these take the place
            of the option of that name.
        comm: anything with a `size`, which must be 1.
        num_points: points of the grid; two for each unit of length or more.
        num_steps: time steps to yield.
        end_time: time from the first one to the last one.
        spin_up: time before the first one, in which the sines become chaos; 0: the first is their sum.
        length: L, of the ring.
        viscosity: ν, above 0.
        amplitude: A lies in [−amplitude, amplitude].
        num_waves: in the sum of sines.
        largest_wavenumber: the largest ℓ.

    Yields:
        `(step, {"u": array of shape [num_points]}, time)` for step = 0 .. num_steps − 1, time from
        spin_up to spin_up + end_time. Each array is new.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, an option that cannot work, or several ranks.
        FloatingPointError: the field is not finite.
    """
    require_one_rank("kuramoto_sivashinsky", comm)
    values = read_parameters(
        "kuramoto_sivashinsky", parameters, ["seed"], {"viscosity": viscosity, "amplitude": amplitude}
    )
    time_step = time_between_steps(num_steps, end_time)
    require_not_negative(spin_up=spin_up)
    sines = draw_sines(
        generator(values["seed"], "initial"),
        num_waves=num_waves,
        amplitude=values["amplitude"],
        largest_frequency=0.0,
        largest_wavenumber=largest_wavenumber,
        length=length,
    )
    initial = sines.values(np.arange(num_points) * length / max(num_points, 1), 0.0)
    equation = KuramotoSivashinsky(initial, length=length, viscosity=values["viscosity"])
    equation.advance(spin_up)
    for step in range(num_steps):
        if step:
            equation.advance(time_step)
        yield step, {"u": equation.field}, spin_up + step * time_step


class KuramotoSivashinsky:
    """A field that `advance` moves on in time.

    Args:
        initial: u at the points, shape [num_points]; it is copied.
        length: L.
        viscosity: ν.
        longest_step: in time; with 0.1 the fields of a study are right to 2e-4 at time 20, and the error grows with the
            chaos.

    Raises:
        ValueError: a viscosity that is not positive, with which short waves grow without bounds, or too few points.
    """

    def __init__(
        self, initial: FloatArray, *, length: float, viscosity: float = 1.0, longest_step: float = 0.1
    ) -> None:
        if not viscosity > 0:
            raise ValueError(f"viscosity is {viscosity}: it must be above 0, or short waves grow without bounds")
        self._num_points = len(initial)
        modes = np.arange(self._num_points // 2 + 1)
        k = 2 * np.pi / length * modes
        # A product of two modes of which each is in the lower two thirds lies in the upper third, or is folded there.
        self._advection = np.where(3 * modes < self._num_points, -0.5j * k, 0.0)
        self._growth = (k**2 - viscosity * k**4).astype(np.complex128)
        if self._num_points < 1 or bool((self._growth[self._advection == 0].real > 0).any()):
            raise ValueError(
                f"{self._num_points} points on a length of {length:g} do not resolve the waves that grow with the "
                f"viscosity {viscosity:g}: write {math.ceil(1.5 * length / math.pi / math.sqrt(viscosity)) + 1} or more"
            )
        self._longest_step = longest_step
        self._steps: dict[float, ETDRK4] = {}
        self._modes = np.fft.rfft(initial)

    @property
    def field(self) -> FloatArray:
        """The values of u at the points now, shape [num_points]; a new array."""
        return np.fft.irfft(self._modes, self._num_points)

    def advance(self, duration: float) -> None:
        """Move on; a duration of 0 changes nothing.

        Raises:
            FloatingPointError: the field is not finite.
        """
        num_steps = math.ceil(duration / self._longest_step)
        for _ in range(num_steps):
            h = duration / num_steps
            if h not in self._steps:
                self._steps[h] = ETDRK4(self._growth, h)
            self._modes = self._steps[h].advance(self._modes, 0.0, self._nonlinear)
        if not np.isfinite(self._modes).all():
            raise FloatingPointError("the field is not finite: check the parameters, or take more points")

    def _nonlinear(self, modes: ComplexArray, time: float) -> ComplexArray:
        """−∂(u²/2)/∂x, which does not depend on the time."""
        product: ComplexArray = self._advection * np.fft.rfft(np.square(np.fft.irfft(modes, self._num_points)))
        return product
