"""What a roll-out begins with, as a user gives it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading import Batch
from melissa_like.records import Layout

__all__ = ["one_start"]


def one_start(
    layout: Layout,
    fields: Mapping[str, npt.ArrayLike],
    parameters: torch.Tensor,
    num_steps: Mapping[str, int],
    *,
    step: int,
) -> Batch:
    """A batch of one, on the CPU: [1, L, *shape] of each field.

    Args:
        layout: of the study.
        fields: by name, in original units, [L, *shape], or [*shape] if L is 1.
        parameters: in original units, [1, P].
        num_steps: L of each field that is needed; more steps than these are left out.
        step: number of the first time step.

    Raises:
        ValueError: a field is missing or unknown, or has another shape.
    """
    if set(fields) != set(num_steps):
        raise ValueError(f"the fields are {', '.join(fields)}, expected {', '.join(num_steps)}: give exactly these")
    given = {name: _steps(layout, name, fields[name], length) for name, length in num_steps.items()}
    longest = max(num_steps.values())
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.arange(step, step + longest, dtype=torch.float64).unsqueeze(0),
        parameters=parameters,
        fields=given,
    )


def _steps(layout: Layout, name: str, values: npt.ArrayLike, length: int) -> torch.Tensor:
    spec = layout.fields[layout.field_id(name)]
    array = np.asarray(values, dtype=spec.numpy_dtype)
    if length == 1 and array.shape == spec.shape:
        array = array[None]
    if array.shape[1:] != spec.shape or len(array) < length:
        one = f", or {spec.shape}" if length == 1 else ""
        raise ValueError(
            f"field {name!r} has the shape {array.shape}, expected {(length, *spec.shape)}{one}: give {length} whole "
            "time steps, the earliest first"
        )
    return torch.from_numpy(array[:length].copy()).unsqueeze(0)
