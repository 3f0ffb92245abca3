"""The vorticity from one time step to the next: pseudo-spectral in space, exponential time differencing."""

import math

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ETDRK4, ComplexArray
from melissa_like.solvers.navier_stokes2d.slabs import Slabs

__all__ = ["Vorticity"]

#: Stability of the method for pure advection: Δt times the largest wavenumber times the speed.
_STABLE = 2.8
#: What is taken where the number of substeps is free: half of it, for accuracy, and since the speed may grow.
_CHOSEN = 1.4


class Vorticity:
    """Modes of the vorticity that `advance` moves on in time.

    Advection needs the velocity only: −u · ∇ω = −(∂²/∂x² − ∂²/∂y²) (u v) − ∂²/∂x∂y (v² − u²), which takes four
    transforms (Basdevant 1983).

    Args:
        initial: this rank's modes at time 0, [columns, 2 K + 1]; without a mean.
        forcing: modes of f, constant in time, of the same shape.
        slabs: this rank's part of points and modes; every rank makes its own of these together.
        viscosity: ν, 0 or more.
        drag: μ, 0 or more.

    Attributes:
        modes: of the vorticity now.
        time: of them.
    """

    def __init__(
        self, initial: ComplexArray, forcing: ComplexArray, slabs: Slabs, *, viscosity: float, drag: float = 0.0
    ) -> None:
        self.modes = initial
        self.time = 0.0
        self._forcing = forcing
        self._slabs = slabs
        kx, ky = (2 * np.pi * numbers for numbers in (slabs.x_wavenumbers, slabs.y_wavenumbers))
        squares = kx**2 + ky**2
        self._decay = (-viscosity * squares - drag).astype(np.complex128)
        self._substep: tuple[float, ETDRK4] | None = None
        # ψ has the modes ω / k², u = ∂ψ/∂y, v = −∂ψ/∂x; nothing moves with the mean.
        inverse = np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)
        self._velocity = np.stack([1j * ky * inverse, -1j * kx * inverse])
        self._advection = np.stack([kx**2 - ky**2, kx * ky])
        self._acceleration = self._speed(forcing)

    def points(self) -> FloatArray:
        """The vorticity at this rank's points, [rows, N]; every rank calls it."""
        rows: FloatArray = self._slabs.to_points(self.modes[None])[0]
        return rows

    def speed(self) -> float:
        """The largest |u| + |v| at any point; the same on every rank, each of which calls it."""
        return self._speed(self.modes)

    def advance(self, time_step: float, num_substeps: int | None = None) -> int:
        """Move on by Δt; every rank calls it, and waits for the others.

        Args:
            time_step: Δt.
            num_substeps: steps of the method in it; None: so many that each is half as long as is stable, at the speed
                that the flow has now and may get from the forcing meanwhile.

        Returns:
            The number of substeps taken, the same on every rank.

        Raises:
            FloatingPointError: on every rank: the vorticity is not finite, before or after it, or the substeps are too
                long to be stable.
        """
        self._require_finite()
        speed = self.speed()
        # Of the fastest mode, per unit of speed: what may be at most _STABLE in a substep.
        reach = time_step * 2 * np.pi * self._slabs.largest_wavenumber
        chosen = max(1, math.ceil(reach * (speed + time_step * self._acceleration) / _CHOSEN))
        if num_substeps is not None and reach * speed > _STABLE * num_substeps:
            raise FloatingPointError(
                f"num_substeps is {num_substeps} in a time step of {time_step:g}, but at a speed of {speed:.3g} a "
                f"substep is stable up to {time_step * _STABLE / (reach * speed):.3g}: give {chosen} or more, or null, "
                "which adapts it to the speed"
            )
        num_substeps = num_substeps or chosen
        method = self._method(time_step / num_substeps)
        for _ in range(num_substeps):
            self.modes = method.advance(self.modes, 0.0, self._rate)
        self.time += time_step
        self._require_finite()
        return num_substeps

    def _require_finite(self) -> None:
        """Every rank calls it, and raises if one has to: a rank that went on alone would wait for the others."""
        if self._slabs.largest(0.0 if np.isfinite(self.modes).all() else math.inf) > 0:
            raise FloatingPointError(
                f"the vorticity is not finite at time {self.time:g}: give more substeps or null, lower the forcing, or "
                "raise the viscosity"
            )

    def _speed(self, modes: ComplexArray) -> float:
        u, v = self._slabs.to_points(self._velocity * modes)
        return self._slabs.largest(float(np.max(np.abs(u) + np.abs(v))))

    def _method(self, substep: float) -> ETDRK4:
        """The last one is kept, since most time steps have as many substeps as the one before."""
        if self._substep is None or self._substep[0] != substep:
            self._substep = substep, ETDRK4(self._decay, substep)
        return self._substep[1]

    def _rate(self, modes: ComplexArray, time: float) -> ComplexArray:
        """Advection and forcing, at any time."""
        u, v = self._slabs.to_points(self._velocity * modes)
        products = np.stack([u * v, (v - u) * (v + u)])
        # Two derivatives of a mode bring −k².
        first, second = self._advection * self._slabs.to_modes(products)
        rate: ComplexArray = first + second + self._forcing
        return rate
