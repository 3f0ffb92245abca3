"""Initial vorticities and forcings, as modes: smooth functions from a seed and a few numbers, on any grid."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ComplexArray
from melissa_like.solvers.navier_stokes2d.slabs import Slabs
from melissa_like.solvers.seeds import generator

__all__ = ["FORCINGS", "LARGEST_RANDOM_WAVENUMBER", "Forcing", "gaussian_field", "initial_vorticity"]

#: Wavenumbers along each axis that random functions have; a coarse grid shows those that it resolves.
LARGEST_RANDOM_WAVENUMBER = 16

#: Called with (slabs, amplitude, wavenumber, seed).
Forcing: TypeAlias = Callable[[Slabs, float, int, float], ComplexArray]


def initial_vorticity(slabs: Slabs, *, seed: float, amplitude: float, inverse_length: float) -> ComplexArray:
    """A Gaussian random field with covariance ∝ (−Δ + τ²)^(−5/2) and no mean (Li et al. 2021, section 5.3).

    Args:
        slabs: of this rank.
        seed: of the simulation.
        amplitude: root mean square over all fields.
        inverse_length: τ.
    """
    return gaussian_field(
        slabs, seed, "initial", amplitude, lambda k: (4 * np.pi**2 * k**2 + inverse_length**2) ** -2.5
    )


def gaussian_field(
    slabs: Slabs, seed: float, function: str, amplitude: float, spectrum: Callable[[FloatArray], FloatArray]
) -> ComplexArray:
    """Modes of a Gaussian random field without a mean.

    All modes are drawn on every rank and before anything is known of the grid, so that it does not matter.

    Args:
        slabs: of this rank.
        seed: of the simulation.
        function: what it is, as in `seeds.generator`.
        amplitude: root mean square over all fields.
        spectrum: variance of a mode by the length of its wave vector, up to a factor.
    """
    most = LARGEST_RANDOM_WAVENUMBER
    along_x, along_y = np.arange(most + 1.0)[:, None], np.arange(-most, most + 1.0)[None, :]
    variance = np.array(spectrum(np.hypot(along_x, along_y)))
    variance[0, most] = 0.0
    # A mode with a wavenumber above 0 along x stands for its conjugate too.
    variance *= amplitude**2 / (2 * variance.sum() - variance[0].sum())
    real, imaginary = generator(seed, function).standard_normal((2, *variance.shape))
    drawn = np.sqrt(variance / 2) * (real + 1j * imaginary)
    drawn[0, :most] = np.conj(drawn[0, :most:-1])
    modes = _no_modes(slabs)
    for place, column in enumerate(slabs.x_wavenumbers[:, 0].astype(int)):
        if column <= most:
            resolved = min(most, slabs.largest_wavenumber)
            modes[place, : resolved + 1] = drawn[column, most : most + resolved + 1]
            modes[place, -resolved:] = drawn[column, most - resolved : most]
    return modes


def kolmogorov(slabs: Slabs, amplitude: float, wavenumber: int, seed: float) -> ComplexArray:
    """−a cos(2π m y): the curl of a force along x that varies with y."""
    return _one_wave(slabs, 0, wavenumber, -amplitude / 2) + _one_wave(slabs, 0, -wavenumber, -amplitude / 2)


def diagonal(slabs: Slabs, amplitude: float, wavenumber: int, seed: float) -> ComplexArray:
    """A sine along the diagonal, a sin(2π m (x + y) + π/4): with a = 0.1 √2 and m = 1 that of Li et al. 2021."""
    return _one_wave(slabs, wavenumber, wavenumber, amplitude / 2 * np.exp(-0.25j * np.pi))


def random(slabs: Slabs, amplitude: float, wavenumber: int, seed: float) -> ComplexArray:
    """A Gaussian random field with wave vectors about as long as m; its mean square is that of the others, a² / 2."""
    return gaussian_field(slabs, seed, "forcing", amplitude / np.sqrt(2), lambda k: np.exp(-2 * (k - wavenumber) ** 2))


FORCINGS: Mapping[str, Forcing] = MappingProxyType({"kolmogorov": kolmogorov, "diagonal": diagonal, "random": random})


def _no_modes(slabs: Slabs) -> ComplexArray:
    return np.zeros((len(slabs.x_wavenumbers), slabs.y_wavenumbers.size), dtype=np.complex128)


def _one_wave(slabs: Slabs, along_x: int, along_y: int, value: complex) -> ComplexArray:
    """One mode, on the rank that holds it."""
    modes = _no_modes(slabs)
    modes[(slabs.x_wavenumbers == along_x) & (slabs.y_wavenumbers == along_y)] = value
    return modes
