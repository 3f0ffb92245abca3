"""A clock that tells the time of day and never goes back."""

import time

__all__ = ["SteadyClock"]


class SteadyClock:
    """Seconds since 1970 as they were when it was made, plus what has passed since.

    So the times of a journal mean the same on another host, and setting the host's clock meanwhile fails nothing.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The time."""
        return self._offset + time.monotonic()
