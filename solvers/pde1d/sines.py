"""Functions of place and time as sums of a few sine waves: initial conditions and forcings."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ComplexArray

__all__ = ["SumOfSines", "draw_sines"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SumOfSines:
    """Σ A sin(ω t + 2π ℓ x / L + φ), over waves that run along a ring.

    Attributes:
        amplitudes: A, shape [J] as the others.
        frequencies: ω.
        wavenumbers: ℓ, whole numbers from 1: the function has no mean.
        phases: φ.
        length: L, of the ring.
    """

    amplitudes: FloatArray
    frequencies: FloatArray
    wavenumbers: npt.NDArray[np.int64]
    phases: FloatArray
    length: float

    def values(self, x: FloatArray, time: float) -> FloatArray:
        """The function at places x, shape [...]."""
        angles = 2 * np.pi / self.length * np.multiply.outer(x, self.wavenumbers)
        total: FloatArray = np.sin(self.frequencies * time + angles + self.phases) @ self.amplitudes
        return total

    def modes(self, num_cells: int, time: float) -> ComplexArray:
        """The real Fourier transform (`numpy.fft.rfft`) of the averages over equal cells, the first beginning at 0."""
        of_waves = self.amplitudes * np.exp(1j * (self.frequencies * time + self.phases))
        # The centre of the first cell lies half a cell after 0; an average over a cell is a sine flattened by sinc.
        of_waves *= np.exp(1j * np.pi * self.wavenumbers / num_cells) * np.sinc(self.wavenumbers / num_cells)
        modes = np.zeros(num_cells // 2 + 1, dtype=np.complex128)
        np.add.at(modes, self.wavenumbers, num_cells / 2j * of_waves)
        return modes

    def averages(self, num_cells: int, time: float) -> FloatArray:
        """The averages over equal cells, shape [num_cells], the first cell beginning at 0."""
        return np.fft.irfft(self.modes(num_cells, time), num_cells)


def draw_sines(
    generator: np.random.Generator,
    *,
    num_waves: int,
    amplitude: float,
    largest_frequency: float,
    largest_wavenumber: int,
    length: float,
) -> SumOfSines:
    """Draw a function; each number of it is uniform.

    The amplitude scales the function and changes nothing else of it.

    Args:
        generator: four numbers of it are used for each wave.
        num_waves: J.
        amplitude: A lies in [−amplitude, amplitude].
        largest_frequency: ω lies in [−largest_frequency, largest_frequency].
        largest_wavenumber: ℓ is 1, 2, ... or this; φ lies in [0, 2π).
        length: L.

    Raises:
        ValueError: no wave, or a length that is not positive.
    """
    if num_waves < 1 or largest_wavenumber < 1:
        raise ValueError(
            f"a sum of {num_waves} waves with wavenumbers from 1 to {largest_wavenumber}: write 1 or more for both"
        )
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"length is {length}: it must be positive, such as 16")
    return SumOfSines(
        amplitudes=amplitude * generator.uniform(-1, 1, num_waves),
        frequencies=largest_frequency * generator.uniform(-1, 1, num_waves),
        wavenumbers=1 + np.floor(largest_wavenumber * generator.uniform(size=num_waves)).astype(np.int64),
        phases=2 * np.pi * generator.uniform(size=num_waves),
        length=float(length),
    )
