"""Training loops of which a checkpoint is no use."""

from pathlib import Path

import torch
from torch import nn

from melissa_like.training import TrainingStream, train


def has_no_room(stream: TrainingStream, *, run_dir: str) -> nn.Module:
    """The bundled loop, where checkpoints cannot be written."""
    if not stream.is_trial:
        (Path(run_dir) / "checkpoints").touch()
    return train(stream)


def keeps_nothing(stream: TrainingStream) -> nn.Module:
    """A loop that a restart cannot go on with."""
    objective = stream.objective()
    for turn in stream.turns:
        losses = objective(turn.batch, turn.progress)
        losses.sum().backward()
        with torch.no_grad():
            for weights in stream.surrogate.network.parameters():
                weights -= 1e-6 * weights.grad
                weights.grad = None
    return stream.surrogate
