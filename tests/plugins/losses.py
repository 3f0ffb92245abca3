"""A loss that writes down what it was given: the audit from outside the counters."""

import json
import os
from pathlib import Path

import torch


def recording_mse(predictions: torch.Tensor, targets: torch.Tensor, *, folder: str, scale: float) -> torch.Tensor:
    """Mean squared error; every target row goes into a file per process, as exact numbers."""
    path = Path(folder) / f"targets-{os.getpid()}.jsonl"
    with path.open("a", encoding="utf-8") as stream:
        for row in targets.double().tolist():
            stream.write(json.dumps(row) + "\n")
    return ((predictions - targets) / scale).square().mean(dim=1)
