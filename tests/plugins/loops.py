"""Training loops of a user's own."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from melissa_like.loading import Turn
from melissa_like.training import TrainingStream, train


def fails(stream: TrainingStream, *, rank: int, after: int = 5) -> nn.Module:
    """The bundled loop, which fails on one rank after some training steps."""

    def fail() -> None:
        if stream.group.rank == rank:
            raise RuntimeError("the loop has lost its way")

    return _train_until(stream, after, fail)


def first_three(stream: TrainingStream) -> nn.Module:
    """A loop that has had enough after three training steps."""
    objective = stream.objective()
    optimizer = torch.optim.SGD(stream.surrogate.network.parameters(), lr=1e-3)
    for turn in islice(stream.turns, 3):
        optimizer.zero_grad()
        objective(turn.batch, turn.progress).sum().div(turn.num_samples_global).backward()
        optimizer.step()
    return stream.surrogate


def dies(stream: TrainingStream, *, after: int = 5) -> nn.Module:
    """The bundled loop, whose process is killed after some training steps."""
    return _train_until(stream, after, lambda: os.kill(os.getpid(), signal.SIGKILL))


def diverges(stream: TrainingStream, *, after: int = 5) -> nn.Module:
    """The bundled loop, whose weights are no numbers after some training steps."""

    def spoil() -> None:
        for weights in stream.surrogate.network.parameters():
            nn.init.constant_(weights, math.nan)

    return _train_until(stream, after, spoil)


def rests(stream: TrainingStream, *, seconds: float, after: int = 5) -> nn.Module:
    """The bundled loop, which pauses once."""

    def rest() -> None:
        if stream.batches == after + 1:
            time.sleep(seconds)

    return _train_until(stream, after, rest)


def killed_once(stream: TrainingStream, *, folder: str, moment: str, ranks: list[int], after: int = 5) -> nn.Module:
    """The bundled loop, in which the processes of some ranks are killed, each once in a study.

    Args:
        folder: where `killed-RANK` tells when, and `tried-PID` that a process has tried the training.
        moment: `start` (before the first turn), `training` (after some steps), `validation`, `draining` (when
            nine tenths of all draws are made) or `end` (when the loop has returned).
        ranks: of whom.
        after: training steps.
    """
    rank = stream.group.rank
    if stream.is_trial:
        (Path(folder) / f"tried-{os.getpid()}").touch()

    def kill() -> None:
        mark = Path(folder) / f"killed-{rank}"
        if rank in ranks and not stream.is_trial and not mark.exists():
            mark.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "start":
        kill()
    if moment == "validation" and stream.held_out is not None:
        evaluate = stream.held_out.evaluate

        def killed(*arguments: Any, **options: Any) -> Any:
            kill()
            return evaluate(*arguments, **options)

        stream.held_out.evaluate = killed  # type: ignore[method-assign]
    if moment == "training":
        return _train_until(stream, after, kill)
    if moment == "draining":
        return _train_until(stream, 0, kill, when=lambda turn: turn.progress >= 0.9)
    trained = train(stream)
    if moment == "end":
        kill()
    return trained


def killed_in_its_trial(stream: TrainingStream, *, folder: str) -> nn.Module:
    """The bundled loop; the first process that tries it is killed."""
    mark = Path(folder) / "tried"
    if stream.is_trial and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return train(stream)


def stopped_once(stream: TrainingStream, *, folder: str, after: int = 3) -> nn.Module:
    """The bundled loop, which notes the time of each of its turns; rank 0 is stopped once."""
    mark, times = Path(folder) / "stopped", Path(folder) / f"turns-{os.getpid()}"

    def note() -> None:
        if stream.is_trial:
            return
        with times.open("a", encoding="utf-8") as stream_of_times:
            stream_of_times.write(f"{time.time()}\n")
        if stream.group.rank == 0 and stream.batches > after and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    return _train_until(stream, 0, note)


def _train_until(
    stream: TrainingStream,
    after: int,
    then: Callable[[], None],
    *,
    when: Callable[[Turn], bool] = lambda turn: True,
) -> nn.Module:
    turns = stream.turns

    def ending() -> Iterator[Turn]:
        for turn in turns:
            if stream.batches > after and when(turn):
                then()
            yield turn

    stream.turns = ending()
    return train(stream)
