"""Losses that write down what they were given (the audit from outside the counters), or that block."""

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

_calls = 0


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


def scaled_mse(
    prediction: torch.Tensor,
    target: torch.Tensor,
    per_sample: Callable[[torch.Tensor], torch.Tensor],
    *,
    scale: float,
) -> torch.Tensor:
    """Mean squared error of large numbers."""
    return per_sample(((prediction - target) / scale).square())


def holds_the_interpreter_once(
    prediction: torch.Tensor,
    target: torch.Tensor,
    per_sample: Callable[[torch.Tensor], torch.Tensor],
    *,
    folder: str,
    scale: float,
    after: int = 20,
) -> torch.Tensor:
    """Mean squared error, which once in a study lets no other thread of Python run, for longer than anybody waits."""
    global _calls
    _calls += 1
    mark = Path(folder) / "blocked"
    if _calls > after and not mark.exists():
        mark.touch()
        re.fullmatch(r"(a+)+", "a" * 60 + "b")
    return per_sample(((prediction - target) / scale).square())


def blocks_once(
    prediction: torch.Tensor,
    target: torch.Tensor,
    per_sample: Callable[[torch.Tensor], torch.Tensor],
    *,
    folder: str,
    scale: float,
    rank: int,
    after: int = 20,
) -> torch.Tensor:
    """Mean squared error, which on one rank waits for ever once in a study."""
    global _calls
    _calls += 1
    mark = Path(folder) / "blocked"
    here = dist.get_rank() if dist.is_initialized() else 0
    if here == rank and _calls > after and not mark.exists():
        mark.touch()
        threading.Event().wait()
    return per_sample(((prediction - target) / scale).square())
