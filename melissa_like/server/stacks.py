"""Where the threads of this process are: for the log of a rank that hangs."""

import faulthandler
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["all_stacks", "is_in_a_collective", "stack_of", "stacks_in_the_log_after"]

_MOST_ENTRIES = 12
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
