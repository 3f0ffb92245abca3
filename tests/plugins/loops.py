"""Training loops of a user's own."""

import math
import os
import signal
from collections.abc import Callable, Iterator

from torch import nn

from melissa_like.loading import Turn
from melissa_like.training import TrainingStream, train


def fails(stream: TrainingStream, *, rank: int, after: int = 5) -> nn.Module:
    """The bundled loop, which fails on one rank after some training steps."""

    def fail() -> None:
        if stream.group.rank == rank:
            raise RuntimeError("the loop has lost its way")

    return _train_until(stream, after, fail)


def dies(stream: TrainingStream, *, after: int = 5) -> nn.Module:
    """The bundled loop, whose process is killed after some training steps."""
    return _train_until(stream, after, lambda: os.kill(os.getpid(), signal.SIGKILL))


def diverges(stream: TrainingStream, *, after: int = 5) -> nn.Module:
    """The bundled loop, whose weights are no numbers after some training steps."""

    def spoil() -> None:
        for weights in stream.surrogate.network.parameters():
            nn.init.constant_(weights, math.nan)

    return _train_until(stream, after, spoil)


def _train_until(stream: TrainingStream, after: int, then: Callable[[], None]) -> nn.Module:
    turns = stream.turns

    def ending() -> Iterator[Turn]:
        for turn in turns:
            if stream.batches > after:
                then()
            yield turn

    stream.turns = ending()
    return train(stream)
