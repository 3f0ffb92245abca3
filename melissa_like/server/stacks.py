"""Where the threads of this process are: for the log of a rank that hangs."""

import faulthandler
import math
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StackAlarm", "all_stacks", "is_in_a_collective", "stack_of", "stacks_in_the_log_after"]

_MOST_ENTRIES = 12
#: Part of an alarm's time after which it is put off: each time that takes a thread.
_RENEW = 0.1
#: Python's last word before torch waits for other processes: in its own C++, so there is no further frame.
_COLLECTIVES = ("/torch/distributed/", "/torch/nn/parallel/distributed.py", "/torch/autograd/graph.py")


def all_stacks() -> str:
    """The stacks of all threads, by name, oldest call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    return "".join(stacks)


def stack_of(ident: int | None) -> str:
    """The innermost calls of a thread, oldest first; empty if it has ended."""
    frame = _frame_of(ident)
    return "" if frame is None else "".join(traceback.format_stack(frame)[-_MOST_ENTRIES:])


def is_in_a_collective(ident: int | None) -> bool:
    """Whether a thread waits in torch for other processes; while it computes gradients, nobody can tell."""
    frame = _frame_of(ident)
    file = "" if frame is None else frame.f_code.co_filename.replace("\\", "/")
    return any(part in file for part in _COLLECTIVES)


def _frame_of(ident: int | None) -> FrameType | None:
    return None if ident is None else sys._current_frames().get(ident)


@contextmanager
def stacks_in_the_log_after(seconds: float) -> Iterator[None]:
    """If this block takes longer, the stacks of all threads go to stderr, even if one keeps the others from running."""
    faulthandler.dump_traceback_later(seconds, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class StackAlarm:
    """The stacks of all threads go to stderr if it is not put off in time, even where one lets no other one run.

    There is one in a process, for whoever put it off last. Made for the threads that report: a process in which they
    cannot run any more is ended by the launcher, and its log shall say where it was.

    Args:
        seconds: until it goes off.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._put_off_at = -math.inf

    def put_off(self, now: float) -> None:
        """Begin the time anew; cheap, call it often."""
        if now - self._put_off_at >= _RENEW * self._seconds:
            self._put_off_at = now
            faulthandler.dump_traceback_later(self._seconds, file=sys.__stderr__ or sys.stderr)

    def end(self) -> None:
        """It does not go off any more."""
        self._put_off_at = -math.inf
        faulthandler.cancel_dump_traceback_later()
