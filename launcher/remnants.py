"""What still runs of an earlier launcher is ended before its successor starts anything."""

import time
from collections.abc import Callable, Collection

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import Executor, JobState

__all__ = ["end_remnants"]


def end_remnants(
    executor: Executor, study: str, *, may_stay: Collection[str], wait: Callable[[], object], timeout_s: float
) -> dict[str, str]:
    """Cancel what carries the study's tag, and block until no process of it is left.

    Two incarnations of the server ranks must never train at once, and a job speaks to server ranks that are gone. But a
    job that only waits in a scheduler's queue reads where its study is when it starts, so it may keep its place.

    Args:
        executor: that is open.
        study: the tag.
        may_stay: names of the jobs that are wanted if they are queued.
        wait: blocks until the executor may have news, or for a moment.
        timeout_s: for all to end.

    Returns:
        The handles of the queued jobs that stay, by name.

    Raises:
        DeadlineExceededError: something of it could not be ended; names it.
    """
    queued: dict[str, str] = {}
    running: set[str] = set()
    for job in executor.find(study):
        if job.state is JobState.QUEUED and job.name in may_stay:
            queued[job.name] = job.handle
        else:
            executor.cancel(job.handle)
            running.add(job.name)
    deadline = time.monotonic() + timeout_s
    while running:
        for update in executor.poll():
            if update.state.is_final:
                running.discard(update.name)
                queued.pop(update.name, None)
        if running and time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"{', '.join(sorted(running))} of the launcher before could not be ended within {timeout_s:g} s: look "
                "at them with ps, or with the scheduler's own command, and resume again when they are gone"
            )
        if running:
            wait()
    return queued
