"""Losses: `(predictions, targets) -> one value per sample`, both [B, N]; the trainer sums and weighs them.

One value per sample, because ranks with uneven batches are weighed exactly only from sums, and because whatever steers
the study (active sampling, audits) asks which sample was hard.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn import functional

__all__ = ["Loss", "l1", "mse", "per_sample", "relative_l2"]

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_SMALLEST_NORM = 1e-8


def mse(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each sample, [B]."""
    # One fused pass forward and one backward: with a small network the loss is a tenth of the training step.
    return functional.mse_loss(predictions, targets, reduction="none").mean(dim=1)


def l1(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of each sample, [B]."""
    return functional.l1_loss(predictions, targets, reduction="none").mean(dim=1)


def relative_l2(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """‖prediction − target‖ / ‖target‖ of each sample, [B]; the denominator is at least 1e-8."""
    error = torch.linalg.vector_norm(predictions - targets, dim=1)
    return torch.div(error, torch.linalg.vector_norm(targets, dim=1).clamp_min(_SMALLEST_NORM))


def per_sample(loss: Loss, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each sample, [B], checked.

    Raises:
        TypeError: the loss did not return a tensor.
        ValueError: it did not return one value per sample.
    """
    losses = loss(predictions, targets)
    name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
    if not isinstance(losses, torch.Tensor):
        raise TypeError(
            f"the loss {name} returned a {type(losses).__name__}: return a tensor with one value per sample"
        )
    expected = (predictions.shape[0],)
    if losses.shape != expected:
        raise ValueError(
            f"the loss {name} returned the shape {tuple(losses.shape)} for a batch of {expected[0]} samples, expected "
            f"{expected}, one value per sample: reduce over all dimensions but the first (a torch.nn loss needs "
            f"reduction='none' and a mean over dim=1)"
        )
    return losses
