"""Jobs as processes of this machine."""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Self

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import guard
from melissa_like.launcher.executors.interface import FoundJob, JobSpec, JobState, JobUpdate, Traits
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.refusals import may_pass, refusal_of
from melissa_like.launcher.executors.tags import (
    TaggedJob,
    handle_of,
    job_of_handle,
    jobs_of_study,
    open_process,
    tags,
)
from melissa_like.launcher.executors.updates import Updates

__all__ = ["LocalExecutor"]

_KILL_S = 5.0  # for the kernel to end what got SIGKILL
_IDLE_S = 60.0  # the watcher is woken by file descriptors; this only bounds its wait


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    handle: str
    mark: str
    pidfd: int
    guarded: bool
    process: subprocess.Popen[bytes] | None  #: None for a job that was found: not a child of this process


class LocalExecutor:
    """Starts every job at once, each in a session of its own under a guard (see the module `guard`).

    Nothing of a job outlives it: not the ranks behind mpiexec, not what its main process left running, not a process
    that ignores SIGTERM; nor does any job outlive the launcher, even when that is killed by SIGKILL. So `find` lists
    the jobs of a dead launcher during their time of grace only. Jobs on other hosts are out of its reach.

    Args:
        on_change: see `Executor`.
        grace_s: between SIGTERM and SIGKILL, for a canceled job and for all jobs when the launcher has gone.
        log_limit_bytes: of a job's log; what a job prints beyond is left out between the beginning and the end.
    """

    traits: ClassVar[Traits] = Traits()

    def __init__(
        self, *, on_change: Callable[[], None], grace_s: float = 5.0, log_limit_bytes: int = 16 * 2**20
    ) -> None:
        self._updates = Updates(on_change)
        self._grace_s = grace_s
        self._log_limit_bytes = log_limit_bytes
        self._ended = threading.Condition()  # guards the next two, both by handle
        self._running: dict[str, _Job] = {}
        self._canceled: set[str] = set()
        self._failure: BaseException | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Opens the lifeline of the guards and starts the watching thread."""
        assert self._watcher is None, "a LocalExecutor is opened once"
        self._lifeline, self._launcher_end = os.pipe()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._watcher = threading.Thread(target=self._watch, name="local-executor", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes with twice the grace as its deadline."""
        self.close(2 * self._grace_s)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """Starts the jobs; see `Executor.submit`. A handle names the job's guard."""
        self._check_open("submit")
        for spec in specs:
            if not spec.command:
                raise ValueError(f"job {spec.name!r} has no command: a LocalExecutor starts processes")
        self._updates.admit(specs)
        handles = {}
        for spec in specs:
            refusal = refusal_of(spec)
            if refusal is not None:
                self._updates.refuse(spec.name, refusal, retry=False)
                continue
            try:
                job = self._start(spec, study)
            except OSError as error:
                self._updates.refuse(spec.name, f"job {spec.name!r} cannot be started: {error}", retry=may_pass(error))
                continue
            self._updates.announce(spec.name, JobState.ACTIVE)
            self._watch_too(job)
            handles[spec.name] = job.handle
        return handles

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """The jobs that carry the study's tag in the environment of their processes; see `Executor.find`."""
        self._check_open("find")
        found = []
        for job in jobs_of_study(study):
            handle = self._known(job) or self._adopt(job)
            if handle is not None:
                found.append(FoundJob(name=job.name, handle=handle, state=JobState.ACTIVE))
        return tuple(found)

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`.

        Raises:
            BaseException: what ended the watching thread, should that ever happen.
        """
        if self._failure is not None:
            raise self._failure
        return self._updates.take()

    def cancel(self, handle: str) -> None:
        """Asks the job's guard to end the whole tree; see `Executor.cancel`."""
        with self._ended:
            job = self._running.get(handle)
            if job is not None:
                self._canceled.add(handle)
                _end(job.pidfd, job.mark, job.guarded)
                return
        found = job_of_handle(handle)
        pidfd = None if found is None else open_process(found)
        if found is not None and pidfd is not None:
            _end(pidfd, found.mark, found.guarded)
            os.close(pidfd)

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when no process of it is left; see `Executor.close`.

        Args:
            timeout_s: what is then still there gets SIGKILL, whatever is left of its grace; the call returns at the
                latest 5 s later. Closing again does nothing.
        """
        if self._watcher is None or self._closing:
            return
        self._closing = True
        with self._ended:
            for handle in tuple(self._running):
                self.cancel(handle)
            if not self._ended.wait_for(self._is_over, timeout_s):
                for job in self._running.values():
                    guard.kill_marked(job.mark)
                self._ended.wait_for(self._is_over, _KILL_S)
            left = sorted(job.name for job in self._running.values())
        if left and self._failure is None:  # the watcher goes on, for them
            raise DeadlineExceededError(
                f"processes of {', '.join(left)} are still there {_KILL_S:g} s after SIGKILL: they hang in the kernel, "
                "probably on a file system that does not answer; look at them with ps"
            )
        self._stop_watching()

    def _check_open(self, what: str) -> None:
        if self._watcher is None or self._closing:
            raise ValueError(f"{what} was called on an executor that is not open: call it within `with`")

    def _is_over(self) -> bool:
        return not self._running or self._failure is not None

    def _stop_watching(self) -> None:
        assert self._watcher is not None
        os.eventfd_write(self._wake, 1)
        self._watcher.join(_KILL_S)
        for descriptor in (self._lifeline, self._launcher_end, self._wake):
            os.close(descriptor)
        if self._failure is not None:
            raise self._failure

    def _start(self, spec: JobSpec, study: str) -> _Job:
        mark = uuid.uuid4().hex
        python = (sys.executable, "-I", "-S", guard.__file__)
        with open_log(spec.log) as log:
            process = subprocess.Popen(
                (*python, str(self._lifeline), str(self._grace_s), str(self._log_limit_bytes), *spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.working_directory,
                env={**os.environ, **spec.environment, **tags(study, spec.name, mark)},
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        try:
            return _Job(spec.name, handle_of(process.pid), mark, os.pidfd_open(process.pid), True, process)
        except OSError:
            process.kill()
            process.wait(_KILL_S)
            raise

    def _known(self, found: TaggedJob) -> str | None:
        """The handle of a job that is watched already; by its mark, because its guard may just have been killed."""
        with self._ended:
            return next((job.handle for job in self._running.values() if job.mark == found.mark), None)

    def _adopt(self, found: TaggedJob) -> str | None:
        """Watches a job from now on and returns its handle; None if it has ended."""
        pidfd = open_process(found)
        if pidfd is None:
            return None
        self._updates.adopt(found.name)
        self._watch_too(_Job(found.name, found.handle, found.mark, pidfd, found.guarded, None))
        return found.handle

    def _watch_too(self, job: _Job) -> None:
        with self._ended:
            self._running[job.handle] = job
        os.eventfd_write(self._wake, 1)

    def _watch(self) -> None:
        """Body of the watching thread: waits for ends of guards until the executor closes."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake, selectors.EVENT_READ)
                while not (self._closing and not self._running):
                    for key, _ in selector.select(_IDLE_S):
                        if key.data is None:
                            self._watch_new(selector)
                        else:
                            selector.unregister(key.fd)
                            self._finish(key.data)
        except BaseException as error:  # surfaces in the next `poll` or in `close`
            with self._ended:
                self._failure = error
                self._ended.notify_all()
            self._updates.wake()

    def _watch_new(self, selector: selectors.BaseSelector) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        watched = selector.get_map()
        with self._ended:
            new = [job for job in self._running.values() if job.pidfd not in watched]
        for job in new:
            selector.register(job.pidfd, selectors.EVENT_READ, job)

    def _finish(self, job: _Job) -> None:
        returned = None if job.process is None else job.process.wait(_KILL_S)  # it has ended: this only collects it
        _kill_leftovers(job.mark)
        with self._ended:
            canceled = job.handle in self._canceled
            self._canceled.discard(job.handle)
            del self._running[job.handle]
            os.close(job.pidfd)
        state, message = _verdict(returned, canceled)
        exit_code = returned if returned is not None and returned >= 0 else None
        self._updates.announce(job.name, state, exit_code, message)
        with self._ended:
            self._ended.notify_all()


def _end(pidfd: int, mark: str, guarded: bool) -> None:
    """Asks the guard, which may be stopped; where it has been killed, nobody is left who could give the job time."""
    if not guarded:
        guard.kill_marked(mark)
        return
    with suppress(ProcessLookupError):  # it is ending
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)


def _kill_leftovers(mark: str) -> None:
    """Ends what a guard that was killed could not end itself."""
    deadline = time.monotonic() + _KILL_S
    while guard.kill_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.01)


def _verdict(returned: int | None, canceled: bool) -> tuple[JobState, str]:
    """Final state and message from what `Popen.wait` returned; None: it was not a child of this process."""
    if canceled:
        return JobState.CANCELED, "canceled"
    if returned is None:
        return JobState.FAILED, "ended; only the launcher that had started it knows how"
    if returned == 0:
        return JobState.COMPLETED, "exit code 0"
    if returned > 0:
        return JobState.FAILED, f"exit code {returned}"
    names = {number.value: number.name for number in signal.Signals}  # real-time signals have none
    return JobState.FAILED, f"killed by {names.get(-returned, f'signal {-returned}')}"
