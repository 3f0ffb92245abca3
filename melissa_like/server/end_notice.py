"""A scheduler's word that the job of a server rank ends soon: SIGUSR1, ahead of its time limit."""

import signal
import threading

__all__ = ["EndNotice"]


class EndNotice:
    """Takes the signal in a process of its own, and tells it once to whoever looks."""

    def __init__(self) -> None:
        self._came = False

    def listen(self) -> None:
        """Take the signal from now on, instead of being ended by it; on the main thread only."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self._take)

    def take(self) -> str | None:
        """What the scheduler says, the first time after it has; from any thread."""
        came, self._came = self._came, False
        return "its scheduler has sent SIGUSR1, its job ends soon" if came else None

    def _take(self, number: int, frame: object) -> None:
        self._came = True
