"""Jobs as threads of this process: the twin of the other executors, for studies in one process and for tests."""

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Self

from melissa_like.errors import DeadlineExceededError, printable
from melissa_like.launcher.executors.interface import FoundJob, JobSpec, JobState, JobUpdate, Traits
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.refusals import may_pass
from melissa_like.launcher.executors.updates import Updates

__all__ = ["InlineExecutor"]

_CLOSE_S = 10.0


@dataclass(slots=True, eq=False, kw_only=True)
class _Job:
    spec: JobSpec
    call: Callable[[threading.Event], int]
    study: str
    told: list[Updates]  #: of the executors that know the job; guarded by `_lock`
    canceled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


_lock = threading.Lock()
#: The jobs of this process that have not ended, by handle: what another process asks its scheduler for.
_living: dict[str, _Job] = {}


class InlineExecutor:
    """Runs `JobSpec.call` of every job at once in a daemon thread of its own, named `job-NAME`.

    Cancellation is cooperative: the call has to look at its event. Its exception is the job's failure; the traceback
    goes to the job's log. Environment and working directory are not set in this process, and its stdout is not
    redirected. `find` lists the jobs of this process; they do not outlive it.

    Args:
        on_change: see `Executor`.
    """

    traits: ClassVar[Traits] = Traits(in_process=True)

    def __init__(self, *, on_change: Callable[[], None]) -> None:
        self._updates = Updates(on_change)
        self._jobs: dict[str, _Job] = {}
        self._open = False

    def __enter__(self) -> Self:
        """Allows jobs."""
        self._open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes with a deadline of 10 s."""
        self.close(_CLOSE_S)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """Starts the threads of the jobs; see `Executor.submit`."""
        self._check_open("submit")
        calls = [_call_of(spec) for spec in specs]
        self._updates.admit(specs)
        handles = {}
        for spec, call in zip(specs, calls, strict=True):
            handle, job = uuid.uuid4().hex, _Job(spec=spec, call=call, study=study, told=[self._updates])
            try:
                open_log(spec.log).close()
            except OSError as error:
                self._updates.refuse(spec.name, f"job {spec.name!r} cannot be started: {error}", retry=may_pass(error))
                continue
            self._updates.announce(spec.name, JobState.ACTIVE)
            with _lock:
                _living[handle] = job
            job.thread = threading.Thread(target=_run, args=(handle, job), name=f"job-{spec.name}", daemon=True)
            job.thread.start()
            self._jobs[handle] = job
            handles[spec.name] = handle
        return handles

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """The jobs of this process that carry the study's tag; see `Executor.find`."""
        self._check_open("find")
        with _lock:
            found = {handle: job for handle, job in _living.items() if job.study == study}
            for handle, job in found.items():
                if handle not in self._jobs:
                    job.told.append(self._updates)
                    self._updates.adopt(job.spec.name)
        self._jobs.update(found)
        return tuple(
            FoundJob(name=job.spec.name, handle=handle, state=JobState.ACTIVE) for handle, job in found.items()
        )

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`."""
        self._jobs = {handle: job for handle, job in self._jobs.items() if job.is_alive}
        return self._updates.take()

    def cancel(self, handle: str) -> None:
        """Sets the job's event; see `Executor.cancel`."""
        with _lock:
            if handle in _living:
                _living[handle].canceled.set()

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when every thread has ended; closing again only waits again.

        Raises:
            DeadlineExceededError: a thread has not ended within `timeout_s`; names it.
        """
        self._open = False
        deadline = time.monotonic() + timeout_s
        threads = [job.thread for job in self._jobs.values() if job.thread is not None]
        for handle in self._jobs:
            self.cancel(handle)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread.name for thread in threads if thread.is_alive()]
        if left:
            raise DeadlineExceededError(
                f"the threads {', '.join(left)} still run {timeout_s:g} s after they were asked to end: their call "
                "has to look at its event more often"
            )

    def _check_open(self, what: str) -> None:
        if not self._open:
            raise ValueError(f"{what} was called on an executor that is not open: call it within `with`")


def _call_of(spec: JobSpec) -> Callable[[threading.Event], int]:
    if spec.call is None:
        raise ValueError(f"job {spec.name!r} has no call: an InlineExecutor runs functions of this process")
    return spec.call


def _run(handle: str, job: _Job) -> None:
    """Body of a job's thread."""
    exit_code, message = None, ""
    try:
        exit_code = job.call(job.canceled)
        message = f"exit code {exit_code}"
    except BaseException as error:  # SystemExit too: nothing may end the thread without a final update
        message = printable("".join(traceback.format_exception_only(error)).strip())
        with suppress(OSError), open_log(job.spec.log) as log:
            log.write(printable(traceback.format_exc()).encode())
    finally:
        with _lock:
            del _living[handle]  # nobody is added to `told` from now on
        state = JobState.COMPLETED if exit_code == 0 else JobState.FAILED
        if job.canceled.is_set():
            state, message = JobState.CANCELED, "canceled"
        for updates in job.told:
            updates.announce(job.spec.name, state, exit_code, message)
