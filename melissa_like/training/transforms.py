"""The one named hook between the stream and the network: `batch -> (inputs, targets)`.

Your own is any function, named by its import path. It gets a `Batch` whose fields are in the order of the layout, and
returns inputs float [B, I] made of `parameters`, `steps` and `times`, and targets float32 [B, N], the fields flattened
and concatenated, in original units. I is up to you. The memory of the batch is reused: return new tensors or views that
are used up within the training step. Predictions call the hook too, with fields of zeros.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch

from melissa_like.loading import Batch

__all__ = ["Transform", "direct"]

Transform: TypeAlias = Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]


def direct(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The direct surrogate: from parameters and step index to the whole time step.

    Returns:
        Inputs float32 [B, P + 1], the parameters and then the step; targets float32 [B, N], all fields flattened and
        concatenated in the order of the layout.
    """
    inputs = torch.cat([batch.parameters, batch.steps.unsqueeze(1)], dim=1).to(torch.float32)
    fields = [values.flatten(1).to(torch.float32) for values in batch.fields.values()]
    return inputs, fields[0] if len(fields) == 1 else torch.cat(fields, dim=1)
