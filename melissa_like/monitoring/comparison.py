"""What pictures that compare share: a prediction, what the solver sent, and the difference."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FEW", "LABELS", "Look", "looks_of"]

#: How matplotlib is to colour values: range and colour map.
Look: TypeAlias = Mapping[str, Any]

#: A field of no more values is drawn as numbers, not as a picture.
FEW = 8
LABELS = ("predicted", "solver", "predicted − solver")


def looks_of(true: npt.NDArray[Any], error: npt.NDArray[Any]) -> tuple[Look, Look, Look]:
    """Colours of the prediction, the truth and the error: the first two on the scale of the truth."""
    low, high = float(true.min()), float(true.max())
    finite = np.abs(error[np.isfinite(error)])
    span = min(float(finite.max(initial=0.0)), high - low) or 1.0
    field = {"vmin": low, "vmax": high, "cmap": "inferno"}
    return field, field, {"vmin": -span, "vmax": span, "cmap": "RdBu_r"}
