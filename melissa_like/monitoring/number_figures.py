"""The picture of numbers, such as the drag: each prediction against what the solver computed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.monitoring.comparison import LABELS
from melissa_like.monitoring.figures import new_figure

__all__ = ["draw_numbers"]

_MOST_COLUMNS = 4


def draw_numbers(path: Path, name: str, title: str, predicted: npt.NDArray[Any], true: npt.NDArray[Any]) -> None:
    """A point for each sample, and the line on which all of them would be, of each value of a field.

    Args:
        path: of the PNG.
        name: of the field.
        title: what is shown, beside the name.
        predicted: [samples, ...], original units.
        true: the same, from held-out simulations.
    """
    made, known = (values.reshape(len(true), -1) for values in (predicted, true))
    num_values = known.shape[1]
    num_columns = min(_MOST_COLUMNS, num_values)
    num_rows = math.ceil(num_values / num_columns)
    figure, rows = new_figure(0.6 + 3.4 * num_columns, 0.8 + 3.4 * num_rows, columns=num_columns, rows=num_rows)
    figure.suptitle(f"{name}, {title}")
    for value, axes in enumerate(rows.flat):
        if value >= num_values:
            axes.set_axis_off()
            continue
        ends = _ends(known[:, value])
        axes.plot(ends, ends, color="black", linewidth=1)
        axes.plot(known[:, value], made[:, value], ".", color="#3182bd", alpha=0.7)
        axes.set(xlim=ends, ylim=ends, xlabel=LABELS[1], ylabel=LABELS[0], aspect="equal")
        axes.grid(True, alpha=0.3)
        if num_values > 1:
            axes.set_title(f"value {value}", fontsize="small")
    figure.savefig(path, dpi=120)


def _ends(known: npt.NDArray[Any]) -> tuple[float, float]:
    """Of both axes: the range of the solver's values with some room, whatever was predicted."""
    low, high = float(np.min(known)), float(np.max(known))
    room = 0.1 * (high - low) or 1.0
    return low - room, high + room
