"""One pass of a network that was just built, before anything depends on it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from melissa_like.loading import Batch
from melissa_like.training.modes import evaluating
from melissa_like.training.surrogate import Surrogate

__all__ = ["check_outputs", "try_out"]

_NUM_SAMPLES = 2


def try_out(surrogate: Surrogate) -> None:
    """Let the task ask the network once, in evaluation mode, for samples of zeros.

    Raises:
        TypeError: the network cannot be called as the task does, or did not return a mapping of tensors.
        ValueError: it returned another shape.
    """
    layout, device = surrogate.layout, surrogate.device
    batch = Batch(
        simulations=torch.zeros(_NUM_SAMPLES, dtype=torch.int64, device=device),
        steps=torch.zeros(_NUM_SAMPLES, dtype=torch.int64, device=device),
        times=torch.zeros(_NUM_SAMPLES, dtype=torch.float64, device=device),
        parameters=torch.zeros(_NUM_SAMPLES, len(layout.parameters), dtype=torch.float64, device=device),
        fields={
            field.name: torch.zeros(_NUM_SAMPLES, *field.shape, dtype=getattr(torch, field.dtype), device=device)
            for field in layout.fields
        },
    )
    with evaluating(surrogate):
        predictions = surrogate.task.advance(surrogate.network, surrogate.normalization, batch, 0.0)
        check_outputs(predictions, surrogate.task.targets(surrogate.normalization, batch))


def check_outputs(predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    """Whether a network returned what it should have.

    Raises:
        TypeError: not a mapping, or no tensor for a target.
        ValueError: a tensor of another shape than its target.
    """
    if not isinstance(predictions, Mapping):
        raise TypeError(
            f"the network returned a {type(predictions).__name__}: return a mapping with a tensor for each of the "
            f"targets {', '.join(targets)}"
        )
    for name, target in targets.items():
        found = predictions.get(name)
        if not isinstance(found, Tensor):
            received = f"a {type(found).__name__}" if name in predictions else "nothing"
            raise TypeError(
                f"the network returned {received} for the target {name!r}, and something for "
                f"{', '.join(map(str, predictions))}: return a tensor of shape {tuple(target.shape)} under that name"
            )
        if found.shape != target.shape:
            raise ValueError(
                f"the network returned the shape {tuple(found.shape)} for the target {name!r}, expected "
                f"{tuple(target.shape)}: samples, components, then the grid"
            )
