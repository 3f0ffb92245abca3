"""The bundled training loop for samples of `tests.plugins.told`, each of which is looked at.

It keeps the history of its weights as `tests.plugins.audit` does, and leaves besides when each process began to train.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import nn

from melissa_like.loading import Batch, Turn
from melissa_like.training import TrainingStream, train
from tests.plugins.audit import History


def audited(
    stream: TrainingStream,
    *,
    folder: str,
    held_out: int = 0,
    pause_s: float = 0.0,
    killed_at: int = 0,
    victim: int = 0,
    mixes: bool = False,
) -> nn.Module:
    """The bundled loop; in the end `seen.json` tells what the weights have seen: simulation, (first) step, how often.

    A sample may be a window.

    Args:
        folder: for that, and for `began-RANK-PID`: when the first turn of each process came, and how many lie before.
        held_out: simulations that are not trained on; they come first, and are not counted.
        pause_s: before each training step.
        killed_at: which of the calls of `os.fsync`, with which checkpoints are written, ends the process; 0: none.
        victim: rank of the process to which that happens, once in a study.
        mixes: a window may be of several attempts; of the first one that is, `mixed` tells.

    Raises:
        AssertionError: a sample is not whole, or not of the simulation and step that it came as.
    """
    if stream.is_trial:
        return train(stream)
    rank = stream.group.rank
    if killed_at and rank == victim:
        _die_at(killed_at, Path(folder) / "killed")
    window = stream.surrogate.task.window
    stride = 1 if window is None else window.stride
    looks = partial(_keys_of, held_out=held_out, stride=stride, mixed=Path(folder) / "mixed" if mixes else None)
    history = History(stream.group.training)
    stream.keep("history", history)
    turns = stream.turns

    def looked_at() -> Iterator[Turn]:
        for index, turn in enumerate(turns):
            if index == 0:
                began = {"at": time.time(), "batches": stream.batches}
                (Path(folder) / f"began-{rank}-{os.getpid()}").write_text(json.dumps(began))
            time.sleep(pause_s)
            keys = None if turn.batch is None else looks(turn.batch)
            yield turn
            if keys is not None:  # before the next turn is asked for, which may be when a checkpoint is taken
                history.add(*keys)

    stream.turns = looked_at()
    trained = train(stream)
    total = history.total()
    if rank == 0:
        rows = [[*key, times] for key, times in sorted(total.items())]
        (Path(folder) / "seen.json").write_text(json.dumps(rows))
    return trained


def _keys_of(batch: Batch, *, held_out: int, stride: int, mixed: Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Simulations, counted without the held-out ones, and (first) steps."""
    simulations, steps = batch.simulations.cpu() - held_out, batch.steps.cpu()
    marked = batch.fields["mark"].cpu().long()
    if marked.dim() == 3:
        marked = marked[:, None]
    numbers = steps[:, None] + stride * torch.arange(marked.shape[1])
    attempts = marked[:, :, 0, 1]
    is_mixed = bool((attempts != attempts[:, :1]).any())
    if is_mixed and mixed is not None:
        mixed.touch()
    said = torch.stack([simulations[:, None].expand_as(numbers), attempts, numbers], dim=2)[:, :, None]
    rows = torch.arange(marked.shape[2])
    differs = (marked[..., :3] != said).any() or (marked[..., 3] != rows).any()
    if differs or (is_mixed and mixed is None):
        told = f"simulations {simulations.tolist()}, steps {steps.tolist()}"
        raise AssertionError(f"a batch of the {told} is mixed up: {marked.tolist()}")
    return simulations, steps.clone()


def _die_at(number: int, mark: Path) -> None:
    """Let a call of `os.fsync` end this process, unless that has happened before."""
    calls, fsync = count(1), os.fsync

    def deadly(descriptor: int) -> None:
        if next(calls) == number and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = deadly
