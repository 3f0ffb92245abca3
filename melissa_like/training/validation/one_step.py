"""The error of each held-out sample, predicted from what the solver sent."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from melissa_like.loading import Batch
from melissa_like.models import FieldShape
from melissa_like.models.segments import segment_sum
from melissa_like.training.losses import FieldLosses
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.validation.extracts import Extract
from melissa_like.training.validation.spread import Table

__all__ = ["ratios_of", "sample_errors", "target_offsets"]


def sample_errors(
    surrogate: Surrogate, losses: FieldLosses, extract: Extract, *, chunk_size: int, on_chunk: Callable[[], None]
) -> Table:
    """Of each sample simulation, step and loss, and of its predicted steps and fields the relative errors.

    Args:
        surrogate: in evaluation, without gradients.
        losses: one value per sample, of all target fields.
        extract: the samples.
        chunk_size: time steps at once.
        on_chunk: called before each chunk.

    Returns:
        [n, 3 + steps · fields], the fields of a step in the order of the problem's targets; a field that is zero
        everywhere has no relative error: NaN.
    """
    targets = surrogate.task.problem.targets
    tables = []
    for chunk in extract.chunks(chunk_size):
        on_chunk()
        batch = chunk.batch(surrogate.device)
        made, told = surrogate(batch), surrogate.task.truth(batch)
        truth = {name: told[name] for name in targets}
        axes = {name: _num_axes(truth[name], shape) if extract.has_windows else 1 for name, shape in targets.items()}
        seen, true = ({n: _for_loss(fields[n], targets[n], axes[n]) for n in targets} for fields in (made, truth))
        each = losses(seen, true, batch.offsets)
        ratios = ratios_of(made, truth, axes, target_offsets(batch, targets))
        keys = torch.stack([batch.simulations.double(), batch.steps.double(), each.double()], dim=1)
        tables.append(torch.cat([keys, ratios.flatten(1)], dim=1).cpu().numpy())
    return np.concatenate(tables) if tables else np.zeros((0, 0))


def target_offsets(batch: Batch, targets: Mapping[str, FieldShape]) -> dict[str, Tensor]:
    """The offsets of the target fields that lie on an extent: int64 [B + 1] by field."""
    return {name: batch.offsets[shape.extent] for name, shape in targets.items() if shape.extent is not None}


def ratios_of(
    made: Mapping[str, Tensor], truth: Mapping[str, Tensor], axes: Mapping[str, int], offsets: Mapping[str, Tensor]
) -> Tensor:
    """‖prediction − truth‖ / ‖truth‖ of each field, float64 [B, F] or [B, K, F].

    Args:
        made: predictions by field.
        truth: by field; NaN is what a field of zeros gives.
        axes: how many axes come before those of the field: 1, or 2 with time steps.
        offsets: by field, of those on an extent, int64 [B + 1]; of others the first axis is of samples.

    Returns:
        Infinite where the prediction is not finite.
    """
    ratios = []
    for name, values in truth.items():
        error, size = (_norms(each, axes[name], offsets.get(name)) for each in (made[name] - values, values))
        ratios.append((error.where(error.isfinite(), torch.inf) / size).where(size > 0, torch.nan))
    return torch.stack(ratios, dim=-1)


def _norms(values: Tensor, axes: int, offsets: Tensor | None) -> Tensor:
    """Of each sample, and each time step of it, float64 [B] or [B, K]."""
    norms = torch.linalg.vector_norm(values.flatten(axes), dim=-1, dtype=torch.float64)
    return norms if offsets is None else segment_sum(norms.square(), offsets).sqrt()


def _num_axes(values: Tensor, shape: FieldShape) -> int:
    """Axes of samples, and of time steps if there are some, of a field in original units."""
    if shape.extent is not None:
        return values.ndim - 1
    components = shape.components // shape.steps
    return values.ndim - len(shape.grid) - (components > 1)


def _for_loss(values: Tensor, shape: FieldShape, axes: int) -> Tensor:
    """[B, C, *grid], or [B, K, C, *grid]; [ΣN, C] and [ΣN, K, C] are so already."""
    steps = values.shape[1:axes]
    components = shape.components // (shape.steps if steps else 1)
    return values.reshape(len(values), *steps, components, *shape.grid)
