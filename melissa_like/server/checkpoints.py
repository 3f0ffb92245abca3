"""`Checkpoints`: when a server rank takes one, what goes into it, and who hears of it.

The trainer's thread takes a checkpoint between two training steps, as all ranks do: it copies what it trains to the
host, lets the receiving thread look at what that has, and hands both to the thread that writes. The loader's thread
says when all ranks have written theirs; rank 0 then completes it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from melissa_like.loading import Collective, LocalState
from melissa_like.protocol.control import Checkpointed
from melissa_like.protocol.reports import CheckpointFigures
from melissa_like.records import Layout
from melissa_like.server.cut import Cut
from melissa_like.server.receiver import Receiver
from melissa_like.training import TrainingStream
from melissa_like.training.checkpoint import (
    PIECE_NBYTES,
    CheckpointFolder,
    CheckpointWriter,
    Manifest,
    ShardContent,
    on_host,
    random_states,
)

__all__ = ["Checkpoints"]

#: For the receiving thread to come to the end of what it is at.
_LOOK_S = 30.0
_CLOSE_S = 30.0
#: For the last one to be written, if the launcher sets no time.
_FINISH_S = 600.0
#: For the last words of a rank whose launcher ends it, after its last checkpoint; half of a shorter time.
_LAST_WORDS_S = 5.0


class Checkpoints:
    """Of one rank; opened and closed as a context.

    Args:
        folder: of the study's checkpoints.
        rank: of this server rank, among `num_ranks`.
        num_ranks: server ranks.
        newest_number: the highest number so far, equal on all ranks.
        interval_s: between two.
        receiver: of this rank.
        look: `take_cut`, told all but the keys that are not delivered and `num_trained`.
        monitoring: what must go on besides, as `torch.load` reads it with `weights_only`.
        tell: takes word of a complete checkpoint, from any thread; must not block.
        layout: of the samples.
        device: that this rank trains on.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        rank: int,
        num_ranks: int,
        newest_number: int,
        interval_s: float,
        receiver: Receiver,
        look: Callable[..., Cut],
        monitoring: Callable[[], dict[str, Any]],
        tell: Callable[[Checkpointed], None],
        layout: Layout,
        device: torch.device,
    ) -> None:
        self._rank = rank
        self._num_ranks = num_ranks
        self._interval_s = interval_s
        self._receiver = receiver
        self._look = look
        self._tell = tell
        self._monitoring = monitoring
        self._layout_id = layout.layout_id
        self._device = device
        self._writer = CheckpointWriter(folder, rank, newest_number=newest_number, on_complete=self._announce)
        self._newest = newest_number
        self._contents: dict[int, tuple[int, tuple[str, ...]]] = {}  # training steps and what is kept, by number
        self._due_at = math.inf
        self._paused_s = 0.0

    def __enter__(self) -> "Checkpoints":
        self._writer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close(_CLOSE_S)

    # -- the loader's thread ------------------------------------------------------------------------------------------

    def add_to(self, state: LocalState) -> LocalState:
        """This rank's part of the agreement, with what checkpoints add to it."""
        if self._due_at == math.inf:  # training begins
            self._due_at = time.monotonic() + self._interval_s
        number, failed = self._writer.ended
        return replace(
            state,
            checkpoint_due=time.monotonic() >= self._due_at,
            checkpoint_done=number,
            checkpoint_failed=failed,
        )

    def settle(self, number: int, is_down: bool) -> None:
        """All ranks have ended writing a checkpoint."""
        batches, kept = self._contents.pop(number)
        if self._rank:
            return
        if is_down:
            self._writer.finish(
                number, batches=batches, layout_id=self._layout_id, kept=kept, num_ranks=self._num_ranks
            )
        else:
            self._writer.remove(number)

    # -- the trainer's thread -----------------------------------------------------------------------------------------

    def take(self, number: int | None, stream: TrainingStream) -> None:
        """Take a checkpoint between two training steps; blocks until all is copied that training would change.

        Args:
            number: of it; None: the next one, after the last training step.
            stream: of the training.
        """
        started = time.monotonic()
        number = self._newest + 1 if number is None else number
        self._newest = number
        training = on_host(stream.state_dict())
        state = {"training": training, "random": random_states(self._device), "monitoring": self._monitoring()}
        self._contents[number] = stream.batches, stream.kept
        try:
            look = partial(self._look, num_trained=training["samples"])
            cut = self._receiver.between_samples(look, _LOOK_S)
        except Exception as error:  # also what the state of a consumer raises: it costs this checkpoint
            self._writer.fail(number, error)
        else:
            self._hand_over(number, state, cut)
        self._due_at = time.monotonic() + self._interval_s
        self._paused_s += time.monotonic() - started

    def _hand_over(self, number: int, state: dict[str, Any], cut: Cut) -> None:
        content = ShardContent(
            state={**state, "consumers": cut.consumers},
            index=cut.index.as_dict(),
            samples=cut.samples.pieces(PIECE_NBYTES),
            held_out=cut.held_out.pieces(PIECE_NBYTES),
        )
        self._writer.write(number, content, cut.samples.let_go)

    def finish(self, collective: Collective, until: float) -> None:
        """After the training: wait for what is still being written, and complete it; every rank must call it.

        Args:
            collective: of the trainer's threads.
            until: on the monotonic clock: what is not written then is given up.

        Raises:
            DeadlineExceededError: another rank did not come.
        """
        halfway = (time.monotonic() + until) / 2
        self._writer.wait(_left(max(until - _LAST_WORDS_S, halfway)))
        newest = self._newest
        numbers = (newest - 1, newest)  # the one before may have been written meanwhile, too late for the agreement
        mine = [newest, *(number in self._writer.down for number in numbers)]
        rows = collective.all_gather(np.array(mine, np.float64))
        for number, are_down in zip(numbers, rows[:, 1:].T, strict=True):
            if number in self._contents:
                self.settle(number, bool(are_down.all()) and bool((rows[:, 0] == newest).all()))
        self._writer.wait(_left(until))

    def figures(self) -> CheckpointFigures:
        """For the report."""
        writer = self._writer
        return CheckpointFigures(
            number=None if writer.newest is None else writer.newest.number,
            written=writer.num_written,
            nbytes=writer.nbytes,
            seconds_paused=self._paused_s,
            seconds_writing=writer.seconds,
        )

    @property
    def problem(self) -> str | None:
        """What could not be written, in one line; None if all could."""
        return self._writer.problem

    def _announce(self, manifest: Manifest) -> None:
        self._tell(Checkpointed(number=manifest.number, batches=manifest.batches, nbytes=manifest.nbytes))


def _left(until: float) -> float:
    return max(0.0, min(until - time.monotonic(), _FINISH_S))
