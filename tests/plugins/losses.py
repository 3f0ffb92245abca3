"""A loss that writes down what it was given: the audit from outside the counters."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch


def recording_mse(
    prediction: torch.Tensor,
    target: torch.Tensor,
    per_sample: Callable[[torch.Tensor], torch.Tensor],
    *,
    folder: str,
    scale: float,
) -> torch.Tensor:
    """Mean squared error; every target goes into a file per process, flattened, as exact numbers."""
    path = Path(folder) / f"targets-{os.getpid()}.jsonl"
    with path.open("a", encoding="utf-8") as stream:
        for row in target.flatten(1).double().tolist():
            stream.write(json.dumps(row) + "\n")
    return per_sample(((prediction - target) / scale).square())
