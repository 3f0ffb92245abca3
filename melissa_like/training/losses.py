"""Losses: `loss(prediction, target, per_sample) -> [B]` for one field, both [B, C, *grid]; and their mean over fields.

One value per sample, because ranks with uneven batches are weighed exactly only from sums, and because whatever steers
the study (active sampling, audits) asks which sample was hard. How the values of one sample are reduced is not for the
loss to know, so that it works on any grid: `per_sample` takes the mean of element values, [B, ...] to [B]. Where the
points of all samples follow one another both are [ΣN, C], and it takes the mean over the points of each: [ΣN, ...] to
[B].
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch.nn import functional

from melissa_like.models import FieldShape, Problem
from melissa_like.models.segments import segment_mean

__all__ = ["FieldLosses", "Loss", "PerSample", "l1", "mse", "per_sample_mean", "per_segment_mean", "relative_l2"]

#: From element values [B, ...] to their mean in each sample, [B].
PerSample: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, PerSample], torch.Tensor]

_SMALLEST_SQUARE = 1e-16


def mse(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    """Mean squared error of each sample, [B]."""
    # One fused pass forward and one backward: with a small network the loss is a tenth of the training step.
    return per_sample(functional.mse_loss(prediction, target, reduction="none"))


def l1(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    """Mean absolute error of each sample, [B]."""
    return per_sample(functional.l1_loss(prediction, target, reduction="none"))


def relative_l2(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    """‖prediction − target‖ / ‖target‖ of each sample, [B]; either root mean square is taken as 1e-8 at least."""
    error = per_sample(functional.mse_loss(prediction, target, reduction="none"))
    # Not the root of zero: its slope is infinite.
    return (error.clamp_min(_SMALLEST_SQUARE) / per_sample(target.square()).clamp_min(_SMALLEST_SQUARE)).sqrt()


def per_sample_mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of each sample on grids: [B, ...] to [B]."""
    return values.flatten(1).mean(dim=1)


def per_segment_mean(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """The mean of each sample whose rows follow one another: [ΣN, ...] to [B], with offsets [B + 1]."""
    return segment_mean(values.flatten(1).mean(dim=1), offsets)


class FieldLosses:
    """One value per sample from all target fields: `(predictions, targets, offsets) -> [B]`, by field and by extent.

    A field is [B, C, *grid], or [B, K, C, *grid] for K time steps, over whose losses the mean is taken; on an extent it
    is [ΣN, C] or [ΣN, K, C].

    Args:
        loss: of one field.
        problem: its target fields.
        weights: of every target field, above 0, any scale; None: the fields count by their number of elements, so that
            the mean squared error is that of all elements together; where one lies on an extent, by components alone,
            so that a number such as the drag is not lost among thousands of points.

    Raises:
        ValueError: a weight for a field that is none, a field without one, or one that is not above 0.
    """

    def __init__(self, loss: Loss, problem: Problem, weights: Mapping[str, float] | None = None) -> None:
        given = _sizes(problem) if weights is None else weights
        if set(given) != set(problem.targets) or not all(0 < weight < math.inf for weight in given.values()):
            raise ValueError(
                f"field_weights is {dict(given)} but the target fields are {', '.join(problem.targets)}: give each of "
                "these a weight above 0; a field that shall not be learned is left out of the task's targets "
                f"(+training.task.targets=[{next(iter(problem.targets))}])"
            )
        total = sum(given.values())
        self._loss = loss
        self._targets = problem.targets
        self._weights = {name: given[name] / total for name in problem.targets}
        self._checked = False

    def __call__(
        self,
        predictions: Mapping[str, torch.Tensor],
        targets: Mapping[str, torch.Tensor],
        offsets: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The weighted mean of the fields' losses.

        Args:
            predictions: normalized, by field.
            targets: in the same shapes.
            offsets: of the batch, by extent; None: no field lies on one.

        Raises:
            TypeError: at the first call, the loss did not return a tensor.
            ValueError: at the first call, it did not return one value per sample.
        """
        total: torch.Tensor | None = None
        for name, weight in self._weights.items():
            losses = self._of_field(predictions[name].float(), targets[name], self._targets[name], offsets or {})
            weighted = losses if len(self._weights) == 1 else losses * weight
            total = weighted if total is None else total + weighted
        assert total is not None
        self._checked = True
        return total

    def _of_field(
        self, prediction: torch.Tensor, target: torch.Tensor, shape: FieldShape, offsets: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The loss of a field, [B]; of several time steps the mean over them: a loss sees one step at a time."""
        steps = target.shape[1] if target.ndim > 2 + len(shape.grid) else None
        if shape.extent is not None:
            return self._on_points(prediction, target, steps, offsets[shape.extent])
        if steps is not None:
            prediction, target = prediction.flatten(0, 1), target.flatten(0, 1)
        losses = self._loss(prediction, target, per_sample_mean)
        if not self._checked:
            self._check(losses, len(target))
        return losses if steps is None else losses.view(-1, steps).mean(dim=1)

    def _on_points(
        self, prediction: torch.Tensor, target: torch.Tensor, steps: int | None, offsets: torch.Tensor
    ) -> torch.Tensor:
        """The same where the points of all samples follow one another; each step by itself, they do not."""
        per_sample = partial(per_segment_mean, offsets=offsets)
        pairs = [(prediction, target)] if steps is None else zip(prediction.unbind(1), target.unbind(1), strict=True)
        each = [self._loss(made, true, per_sample) for made, true in pairs]
        if not self._checked:
            self._check(each[0], len(offsets) - 1)
        return torch.stack(each).mean(dim=0) if len(each) > 1 else each[0]

    def _check(self, losses: object, num_samples: int) -> None:
        name = getattr(getattr(self._loss, "func", self._loss), "__name__", type(self._loss).__name__)
        if not isinstance(losses, torch.Tensor):
            raise TypeError(
                f"the loss {name} returned a {type(losses).__name__}: return a tensor with one value per sample"
            )
        if losses.shape != (num_samples,):
            raise ValueError(
                f"the loss {name} returned the shape {tuple(losses.shape)} for a batch of {num_samples} samples, "
                f"expected {(num_samples,)}, one value per sample: return per_sample(element values), which takes the "
                "mean over all dimensions but the first"
            )


def _sizes(problem: Problem) -> dict[str, float]:
    """What the fields count: their elements, or their components where points are not to be counted."""
    targets = problem.targets
    on_points = any(shape.extent is not None for shape in targets.values())
    return {name: float(shape.components if on_points else shape.size) for name, shape in targets.items()}
