"""Waiting: a file descriptor that any thread can make readable, and sleeping for what has none."""

import os
import time
from collections.abc import Callable

__all__ = ["Wakeup", "sleep_until"]

_SHORTEST_SLEEP_S = 0.0001
_LONGEST_SLEEP_S = 0.005


def sleep_until(done: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it is done in time; asked between sleeps that grow from 0.1 to 5 ms."""
    deadline = time.monotonic() + timeout_s
    pause = _SHORTEST_SLEEP_S
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_SLEEP_S)
    return True


class Wakeup:
    """Wakes a poll from another thread; calls after `close` do nothing."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._descriptor

    def set(self) -> None:
        """Make it readable."""
        descriptor = self._descriptor
        if descriptor >= 0:
            os.eventfd_write(descriptor, 1)

    def clear(self) -> None:
        """Make it unreadable again."""
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
