"""`Loader`: the trainer's side of loading, and the owner of its one thread."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from melissa_like.buffer import Draw, SampleBuffer
from melissa_like.errors import DeadlineExceededError
from melissa_like.loading.agreement import AgreementTerms, ServerRankFailedError
from melissa_like.loading.batch import Measurement, Turn
from melissa_like.loading.collective import Collective
from melissa_like.loading.lane import Lane
from melissa_like.loading.placement import Slot, make_slots
from melissa_like.loading.preparation import LocalState, Preparation

__all__ = ["Loader", "LoaderCounters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderCounters:
    """What the loader did so far, on this rank.

    Attributes:
        wait_s: seconds the trainer waited for turns.
        batches: turns handed out, those of zero weight and those before a restart included.
        samples: samples in them.
        num_collectives: exchanges between the ranks since the first turn.
        collective_s: seconds the loader's thread spent in them.
    """

    wait_s: float = 0.0
    batches: int = 0
    samples: int = 0
    num_collectives: int = 0
    collective_s: float = 0.0


class Loader:
    """Iterates over the agreed turns of one rank: `with loader: for turn in loader: ...`, once.

    All ranks get the same number of turns. Asking for the next turn says that the training step of the one before has
    ended: its draw is settled. Batches are prepared ahead by one thread, which lives from `__enter__` to `close`.

    Args:
        buffer: of this rank; the loader does not close it.
        terms: of the agreement, equal on all ranks.
        state: called by the loader's thread before each agreement; must be quick.
        collective: joins the ranks; used by the loader's thread alone, one exchange per agreement.
        device: where the batches lie, cpu or cuda.
        prefetch: turns prepared ahead.
        measurement: statistics that are wanted in the first turn, equal on all ranks; None: none.
        batches_done: training steps before this loader, after a restart.
        samples_done: samples in them, of this rank.
        newest_checkpoint: the highest number that a checkpoint had before this loader, equal on all ranks.
        on_checkpoint: told, on the loader's thread, that all ranks have ended writing a checkpoint: its number, and
            whether it is down on all; must be quick.
        close_deadline_s: how long `close` waits for the thread.

    Raises:
        ValueError: a number that cannot work.
    """

    def __init__(
        self,
        buffer: SampleBuffer,
        terms: AgreementTerms,
        *,
        state: Callable[[], LocalState],
        collective: Collective,
        device: str | torch.device = "cpu",
        prefetch: int = 2,
        measurement: Measurement | None = None,
        batches_done: int = 0,
        samples_done: int = 0,
        newest_checkpoint: int = 0,
        on_checkpoint: Callable[[int, bool], None] = lambda number, is_down: None,
        close_deadline_s: float = 10.0,
    ) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}: give at least 1")
        slots = make_slots(buffer, terms.batch_size, prefetch + 1, torch.device(device))
        self._buffer = buffer
        self._lane = Lane(slots)
        self._preparation = Preparation(
            buffer,
            terms,
            collective,
            state,
            self._lane,
            measurement=measurement,
            batches_done=batches_done,
            newest_checkpoint=newest_checkpoint,
            on_checkpoint=on_checkpoint,
        )
        self._thread = threading.Thread(target=self._preparation.run, name="loading", daemon=True)
        self._close_deadline_s = close_deadline_s
        self._in_use: Slot | None = None
        self._unsettled: Draw | None = None
        self._wait_s = 0.0
        self._batches = batches_done
        self._samples = samples_done

    def __enter__(self) -> Self:
        """Start the thread.

        Raises:
            RuntimeError: entered before; a stream can be read once.
        """
        if self._thread.ident is not None:
            raise RuntimeError("this loader was already opened and a stream can be read only once: make another loader")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; what goes wrong meanwhile is noted on the error in flight, if there is one."""
        try:
            self.close()
        except Exception as late:
            if error is None or error is late:
                raise
            error.add_note(f"closing the loader: {late}")

    def __iter__(self) -> Self:
        """The loader itself: there is one stream."""
        return self

    def __next__(self) -> Turn:
        """Settle the last turn, recycle memory and return the next turn.

        Blocks until it is prepared, however long the solvers take: it is for the launcher to end a study.

        Raises:
            StopIteration: the agreed end, or the loader was closed.
            RuntimeError: the loader was not opened.
            ServerRankFailedError: another rank's loader failed.
            Exception: whatever ended the loader's thread, with its traceback.
        """
        if self._thread.ident is None:
            raise RuntimeError("the loader was not opened: write `with loader:` around the loop")
        self.settle()
        if self._in_use is not None:
            self._in_use.give_back()
            self._lane.recycle(self._in_use)
            self._in_use = None
        started = time.monotonic()
        prepared = self._lane.pop()
        self._wait_s += time.monotonic() - started
        if prepared is None:
            raise StopIteration
        self._in_use = prepared.slot
        self._unsettled = prepared.draw
        self._batches += 1
        self._samples += 0 if prepared.turn.batch is None else prepared.turn.batch.size
        if prepared.draw is not None:
            prepared.slot.take()
        return prepared.turn

    def settle(self) -> None:
        """Say that the training step of the last turn has ended, before a checkpoint that must count it as made."""
        if self._unsettled is not None:
            self._buffer.settle(self._unsettled)
            self._unsettled = None

    def close(self) -> None:
        """End the thread and tell the other ranks if it is before the agreed end. May be called again.

        Blocks until the thread has ended, `close_deadline_s` at most. Draws that no training step settled stay
        provisional.

        Raises:
            DeadlineExceededError: the thread has not ended, or another rank did not come to be told.
            Exception: what ended the loader's thread, if no turn was asked for since; but for the failure of another
                rank, which concerns nobody who leaves.
        """
        self._lane.close()
        if self._thread.ident is None:
            return
        self._thread.join(self._close_deadline_s)
        if self._thread.is_alive():
            raise DeadlineExceededError(
                f"the loader's thread has not ended within {self._close_deadline_s} s of closing: it waits for another "
                f"server rank or for the buffer; look for the first error of the other ranks"
            )
        error = self._lane.unseen_error
        if error is not None and not isinstance(error, ServerRankFailedError):
            raise error

    def counters(self) -> LoaderCounters:
        """What was done so far; may be called from any thread."""
        return LoaderCounters(
            wait_s=self._wait_s,
            batches=self._batches,
            samples=self._samples,
            num_collectives=self._preparation.num_collectives,
            collective_s=self._preparation.collective_s,
        )
