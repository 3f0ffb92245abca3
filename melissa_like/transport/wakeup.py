"""A file descriptor that any thread can make readable."""

import os

__all__ = ["Wakeup"]


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
