"""Which time step it is, and when: the numbers that a solver gives with its fields."""

import math
import operator
import reprlib
from typing import Any

import numpy as np

from melissa_like.client.conversion import plain_array
from melissa_like.errors import SolverError

__all__ = ["physical_time", "step_number"]

#: Steps travel as unsigned numbers and are kept as signed ones.
_LAST_STEP = 2**63 - 1


def step_number(step: Any, last: int) -> int:
    """A step as a plain number.

    Args:
        step: whatever is an integer: of Python, of numpy, an array without dimensions.
        last: of the step before; -1 if it is the first.

    Raises:
        SolverError: it is no integer, does not grow, or is beyond what can be sent.
    """
    try:
        number = -1 if isinstance(step, bool | np.bool_) else operator.index(step)
    except TypeError:
        number = -1
    if last < number <= _LAST_STEP:
        return number
    place = f"after time step {last}" if last >= 0 else "as the first one"
    raise SolverError(
        f"time step {reprlib.repr(step)} {place}: number the steps with growing integers, from 0 to 2**63 - 1"
    )


def physical_time(time: Any) -> float:
    """A physical time as a plain number; NaN for None and for NaN: the solver knows none.

    Raises:
        SolverError: it is no real number, or infinite.
    """
    if time is None:
        return math.nan
    number = float(time) if isinstance(time, float) else _number(time)
    if number is None or math.isinf(number):
        raise SolverError(
            f"the physical time {reprlib.repr(time)} was sent: give a finite number of any unit, or None if the solver "
            "knows none"
        )
    return number


def _number(time: Any) -> float | None:
    try:
        array = plain_array(time, None)
    except (TypeError, ValueError, RuntimeError):  # ragged, masked, of a device
        return None
    return float(array) if array.ndim == 0 and array.dtype.kind in "iuf" else None
