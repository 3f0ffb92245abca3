"""Rows of labels: what of a sample is not a field."""

import numpy as np
import numpy.typing as npt

from melissa_like.records import FloatArray, Layout, SampleKey

__all__ = ["NUM_KEYS", "num_labels", "write_label"]

#: Columns before the times: simulation and (first) step.
NUM_KEYS = 2


def num_labels(layout: Layout, window_length: int | None) -> int:
    """Columns of the labels."""
    return NUM_KEYS + (window_length or 1) + len(layout.parameters)


def write_label(
    keys: npt.NDArray[np.int64],
    numbers: FloatArray,
    key: SampleKey,
    time: float | FloatArray,
    parameters: FloatArray,
    window_length: int | None,
) -> None:
    """Write a row of labels, given as int64 and as float64."""
    keys[0] = key.simulation
    keys[1] = key.step
    if window_length is None:
        numbers[2] = time
        numbers[3:] = parameters
    else:
        numbers[2 : 2 + window_length] = time
        numbers[2 + window_length :] = parameters
