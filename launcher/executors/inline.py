"""Jobs as threads of this process: the twin of the other executors, for studies in one process and for tests."""

import threading
import time
import traceback
from collections.abc import Callable
from typing import Self, TypeAlias

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors.interface import JobSpec, JobState, JobUpdate
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.updates import Updates

__all__ = ["Entry", "InlineExecutor"]

#: Runs a job and returns its exit code; the event is set when the job is to end.
Entry: TypeAlias = Callable[[JobSpec, threading.Event], int]

_CLOSE_S = 10.0


class InlineExecutor:
    """Runs every job at once in a daemon thread of its own, named `job-NAME`.

    Cancellation is cooperative: `entry` has to look at its event. An exception of `entry` is the job's failure; its
    traceback goes to the job's log. `JobSpec.command`, `environment` and `working_directory` mean what `entry` makes
    of them; nothing is set in this process, and its stdout is not redirected.

    Args:
        entry: runs a job.
        on_change: see `Executor`.
    """

    def __init__(self, entry: Entry, *, on_change: Callable[[], None]) -> None:
        self._entry = entry
        self._updates = Updates(on_change)
        self._jobs: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._open = False

    def __enter__(self) -> Self:
        """Allows jobs."""
        self._open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes with a deadline of 10 s."""
        self.close(_CLOSE_S)

    def submit(self, spec: JobSpec) -> None:
        """Starts the job's thread; see `Executor.submit`."""
        if not self._open:
            raise ValueError(f"job {spec.name!r} was submitted to an executor that is not open: submit within `with`")
        if spec.name in self._jobs:
            raise ValueError(f"a job named {spec.name!r} was submitted before: give each attempt a name of its own")
        canceled = threading.Event()
        thread = threading.Thread(target=self._run, args=(spec, canceled), name=f"job-{spec.name}", daemon=True)
        self._jobs[spec.name] = thread, canceled
        self._updates.announce(spec.name, JobState.ACTIVE)
        thread.start()

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`."""
        return self._updates.take()

    def cancel(self, name: str) -> None:
        """Sets the job's event; see `Executor.cancel`."""
        if name in self._jobs:
            self._jobs[name][1].set()

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when every thread has ended; closing again only waits again.

        Raises:
            DeadlineExceededError: a thread has not ended within `timeout_s`; names it.
        """
        self._open = False
        deadline = time.monotonic() + timeout_s
        for _, canceled in self._jobs.values():
            canceled.set()
        for thread, _ in self._jobs.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread.name for thread, _ in self._jobs.values() if thread.is_alive()]
        if left:
            raise DeadlineExceededError(
                f"the threads {', '.join(left)} still run {timeout_s:g} s after they were asked to end: their entry "
                "has to look at its event more often"
            )

    def _run(self, spec: JobSpec, canceled: threading.Event) -> None:
        """Body of a job's thread."""
        exit_code, message = None, ""
        try:
            exit_code = self._entry(spec, canceled)
            message = f"exit code {exit_code}"
        except BaseException as error:  # SystemExit too: nothing may end the thread without a final update
            message = f"{type(error).__name__}: {error}"
            with open_log(spec.log) as log:
                log.write(traceback.format_exc().encode())
        finally:
            if canceled.is_set():
                self._updates.announce(spec.name, JobState.CANCELED, exit_code, "canceled")
            else:
                state = JobState.COMPLETED if exit_code == 0 else JobState.FAILED
                self._updates.announce(spec.name, state, exit_code, message)
