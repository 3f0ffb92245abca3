"""Finds a training that hangs while the other threads still report."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from melissa_like.loading import Turn
from melissa_like.protocol.control import TrainingBlocked
from melissa_like.server.stacks import StackAlarm, all_stacks, is_in_a_collective, stack_of
from melissa_like.server.training_clock import TrainingClock

__all__ = ["Watch"]


class Watch:
    """Times the turns on the trainer's thread; looks, and tells, on the control thread.

    Args:
        clock: of the training.
        num_server_ranks: that train together.
        put_waits: whether a sample waits for room in the buffer.
        tell: says something to the launcher, which replaces the server ranks.
        alarm: for a process in which the control thread cannot look any more.
    """

    def __init__(
        self,
        clock: TrainingClock,
        *,
        num_server_ranks: int,
        put_waits: Callable[[], bool],
        tell: Callable[[TrainingBlocked], None],
        alarm: StackAlarm,
    ) -> None:
        self._clock = clock
        self._num_server_ranks = num_server_ranks
        self._put_waits = put_waits
        self._tell = tell
        self._alarm = alarm
        self._trainer: int | None = None
        self._has_told = False

    @contextmanager
    def training(self) -> Iterator[None]:
        """While the loop runs, on the trainer's thread."""
        self._clock.begin(time.monotonic())
        with self._looked_at():
            yield

    @contextmanager
    def handing_in(self) -> Iterator[None]:
        """While what was trained is saved, on the trainer's thread: a file system may not answer."""
        self._clock.hand_in(time.monotonic())
        with self._looked_at():
            yield

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        self._trainer = threading.get_ident()
        try:
            yield
        finally:
            self._clock.end()
            self._trainer = None
            self._alarm.end()

    def passing(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """The same turns, timed."""
        clock = self._clock
        clock.ask(time.monotonic())
        for turn in turns:
            clock.hand_out(time.monotonic(), has_data=turn.batch is not None)
            yield turn
            clock.ask(time.monotonic())
        clock.run_out(time.monotonic())

    def moved(self) -> None:
        """A validation has come forward; on the trainer's thread."""
        self._clock.move(time.monotonic())

    def look(self) -> None:
        """Tell the launcher once of a training that hangs, and leave the stacks of all threads in the log."""
        trainer = self._trainer
        if trainer is not None and trainer == threading.main_thread().ident:  # else this is the launcher's process
            self._alarm.put_off(time.monotonic())
        if self._has_told:
            return
        thread = trainer if self._clock.holds_turn else _loading_thread()
        waits = self._num_server_ranks > 1 and is_in_a_collective(thread)
        what = self._clock.overdue(time.monotonic(), put_waits=self._put_waits(), waits_for_others=waits)
        if what is None:
            return
        self._has_told = True
        text = f"{what} (launcher.training_timeout_s)"
        sys.stderr.write(f"{text}; the stacks of all threads:\n{all_stacks()}")
        sys.stderr.flush()
        self._tell(TrainingBlocked(message=f"{text}; it is here:\n{stack_of(thread)}"))


def _loading_thread() -> int | None:
    return next((thread.ident for thread in threading.enumerate() if thread.name == "loading"), None)
