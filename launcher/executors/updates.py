"""The queue between the threads that see a job change and the thread that polls; and which names are taken."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

from melissa_like.launcher.executors.interface import JobSpec, JobState, JobUpdate

__all__ = ["Updates"]


class Updates:
    """Changes in the order in which they were announced.

    A name is taken from its submission until its final update is polled: an update could not be told from another's
    otherwise. What has ended is forgotten.

    Args:
        on_change: called after each announcement, from the announcing thread.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._waiting: deque[JobUpdate] = deque()  # append and popleft are atomic: no lock
        self._taken: set[str] = set()  # of the thread that submits and polls

    def admit(self, specs: Sequence[JobSpec]) -> None:
        """Takes the names of new jobs.

        Raises:
            ValueError: one is taken, or given twice; none of them was taken.
        """
        for name, count in Counter(spec.name for spec in specs).items():
            if count > 1 or name in self._taken:
                raise ValueError(
                    f"a job named {name!r} was submitted before and has not been polled as ended: give each attempt a "
                    "name of its own"
                )
        self._taken.update(spec.name for spec in specs)

    def adopt(self, name: str) -> None:
        """Takes the name of a job that was found."""
        self._taken.add(name)

    def announce(self, name: str, state: JobState, exit_code: int | None = None, message: str = "") -> None:
        """Adds an update and wakes the one who polls."""
        self.add(JobUpdate(name=name, state=state, exit_code=exit_code, message=message))

    def refuse(self, name: str, reason: str, *, retry: bool) -> None:
        """Adds the only update of a job that was not accepted, and wakes the one who polls."""
        self.add(JobUpdate(name=name, state=JobState.FAILED, message=reason, retry=retry))

    def add(self, update: JobUpdate) -> None:
        """Adds an update and wakes the one who polls."""
        self._waiting.append(update)
        self.wake()

    def wake(self) -> None:
        """Wakes the one who polls, who will find more than updates: a failure."""
        self._on_change()

    def take(self) -> tuple[JobUpdate, ...]:
        """Removes and returns what was announced; never blocks."""
        taken = tuple(self._waiting.popleft() for _ in range(len(self._waiting)))
        self._taken.difference_update(update.name for update in taken if update.state.is_final)
        return taken
