"""The queue between the threads that see a job change and the thread that polls."""

from collections import deque
from collections.abc import Callable

from melissa_like.launcher.executors.interface import JobState, JobUpdate

__all__ = ["Updates"]


class Updates:
    """Changes in the order in which they were announced.

    Args:
        on_change: called after each announcement, from the announcing thread.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._waiting: deque[JobUpdate] = deque()  # append and popleft are atomic: no lock

    def announce(self, name: str, state: JobState, exit_code: int | None = None, message: str = "") -> None:
        """Adds an update and wakes the one who polls."""
        self._waiting.append(JobUpdate(name=name, state=state, exit_code=exit_code, message=message))
        self.wake()

    def wake(self) -> None:
        """Wakes the one who polls, who will find more than updates: a failure."""
        self._on_change()

    def take(self) -> tuple[JobUpdate, ...]:
        """Removes and returns what was announced; never blocks."""
        return tuple(self._waiting.popleft() for _ in range(len(self._waiting)))
