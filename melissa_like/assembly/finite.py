"""`FiniteCheck`: every complete sample is looked at for values that are not finite, before anything learns from it.

One such value in a batch spoils the weights for good, and in a held-out sample it makes the error of all of them NaN;
here it still has a name. The usual look is one pass of BLAS over memory that has just been written, and allocates
nothing: the sum of squares is finite only if all values are. Where it is not, the values may still be, if they are
large; then they are looked at one by one, in blocks.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.assembly.consumers import Consumer
from melissa_like.errors import UnfitSampleError
from melissa_like.records import Layout, Sample, SampleKey

__all__ = ["FiniteCheck"]

_BLOCK = 2**16
#: Their sums of squares are computed by BLAS, the others' in a loop that is slower than a closer look.
_FAST = ("float32", "float64")


class FiniteCheck:
    """Hands on the samples whose values are all finite; of a field of whole numbers that is known.

    Args:
        then: takes the samples.
        layout: of the study.
        drops: what is not finite is given up sample by sample; else its simulation fails.
        give_back: called with simulation and step: the memory of a sample that is not taken is free again.
    """

    def __init__(self, then: Consumer, layout: Layout, *, drops: bool, give_back: Callable[[int, int], None]) -> None:
        self._then = then
        self._layout = layout
        self._drops = drops
        self._give_back = give_back
        floats = [index for index, spec in enumerate(layout.fields) if spec.numpy_dtype.kind == "f"]
        self._fast = tuple(index for index in floats if layout.fields[index].dtype in _FAST)
        self._others = tuple(index for index in floats if index not in self._fast)
        self._seen: Sample | None = None

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """Tell the next one the sizes of a simulation."""
        self._then.begin(simulation, attempt, layout)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """The memory of the next one."""
        return self._then.reserve(simulation, attempt, step)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        """Look at a sample, once, and hand it on.

        Raises:
            UnfitSampleError: a value is not finite, or the next one refuses the sample.
        """
        if sample is not self._seen:
            fields = sample.fields
            for index in self._fast:
                values = fields[index]
                if not math.isfinite(np.vdot(values, values)):  # np.dot warns of an overflow, and costs more
                    self._look_closely(sample, index)
            for index in self._others:
                self._look_closely(sample, index)
            self._seen = sample
        try:
            return self._then.take(sample, timeout_s)
        except UnfitSampleError:  # of one of yours
            self._give_back(sample.key.simulation, sample.key.step)
            raise

    def forget(self, simulation: int) -> None:
        """Nothing of a single simulation is kept here."""
        self._then.forget(simulation)

    def close(self) -> None:
        """Close the next one."""
        self._then.close()

    def _look_closely(self, sample: Sample, index: int) -> None:
        values = sample.fields[index]
        first, count = _not_finite(values.reshape(-1))
        if not count:
            return
        self._give_back(sample.key.simulation, sample.key.step)
        place = tuple(int(i) for i in np.unravel_index(first, values.shape))
        named = zip(self._layout.parameters, sample.parameters.tolist(), strict=True)
        parameters = ", ".join(f"{name} = {value!r}" for name, value in named)
        advice = "" if self._drops else " (solver.not_finite=drop leaves out such samples alone)"
        raise UnfitSampleError(
            f"time step {sample.key.step} of simulation {sample.key.simulation} is not finite: field "
            f"{self._layout.fields[index].name!r} is {values[place]} at {list(place)}, and is not finite at {count} of "
            f"its {values.size} places; the parameters are {parameters}{advice}",
            drops=self._drops,
        )


def _not_finite(values: npt.NDArray[Any]) -> tuple[int, int]:
    """Position of the first value that is not finite, and how many there are."""
    first = count = 0
    for start in range(0, values.size, _BLOCK):
        finite = np.isfinite(values[start : start + _BLOCK])
        bad = finite.size - int(np.count_nonzero(finite))
        if bad and not count:
            first = start + int(finite.argmin())
        count += bad
    return first, count
