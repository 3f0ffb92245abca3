"""Training loops of a user's own."""

from collections.abc import Iterator

from torch import nn

from melissa_like.loading import Turn
from melissa_like.training import TrainingStream, train


def fails(stream: TrainingStream, *, rank: int, after: int = 5) -> nn.Module:
    """The bundled loop, which fails on one rank after some training steps."""
    turns = stream.turns

    def failing() -> Iterator[Turn]:
        for turn in turns:
            if stream.batches > after and stream.group.rank == rank:
                raise RuntimeError("the loop has lost its way")
            yield turn

    stream.turns = failing()
    return train(stream)
