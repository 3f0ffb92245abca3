"""Jobs as processes of this machine."""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from melissa_like.errors import ConfigurationError, DeadlineExceededError
from melissa_like.launcher.executors import guard
from melissa_like.launcher.executors.interface import JobSpec, JobState, JobUpdate
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.updates import Updates

__all__ = ["LocalExecutor"]

_KILL_S = 5.0  # for the kernel to end what got SIGKILL
_IDLE_S = 60.0  # the watcher is woken by file descriptors; this only bounds its wait


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    guard: subprocess.Popen[bytes]
    pidfd: int
    mark: str


class LocalExecutor:
    """Starts every job at once, each in a session of its own under a guard (see the module `guard`).

    Nothing of a job outlives it: not the ranks behind mpiexec, not what its main process left running, not a process
    that ignores SIGTERM; nor does any job outlive the launcher, even when that is killed by SIGKILL.

    Args:
        on_change: see `Executor`.
        grace_s: between SIGTERM and SIGKILL, for a canceled job and for all jobs when the launcher has gone.
    """

    def __init__(self, *, on_change: Callable[[], None], grace_s: float = 5.0) -> None:
        self._updates = Updates(on_change)
        self._grace_s = grace_s
        self._names: set[str] = set()
        self._ended = threading.Condition()  # guards the next two
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

    def submit(self, spec: JobSpec) -> None:
        """Starts the job; see `Executor.submit`."""
        if self._watcher is None or self._closing:
            raise ValueError(f"job {spec.name!r} was submitted to an executor that is not open: submit within `with`")
        if spec.name in self._names:
            raise ValueError(f"a job named {spec.name!r} was submitted before: give each attempt a name of its own")
        _check(spec)
        job = self._start(spec)
        self._names.add(spec.name)
        self._updates.announce(spec.name, JobState.ACTIVE)
        with self._ended:
            self._running[spec.name] = job
        os.eventfd_write(self._wake, 1)

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`.

        Raises:
            BaseException: what ended the watching thread, should that ever happen.
        """
        if self._failure is not None:
            raise self._failure
        return self._updates.take()

    def cancel(self, name: str) -> None:
        """Asks the job's guard to end the whole tree; see `Executor.cancel`."""
        with self._ended:
            job = self._running.get(name)
            if job is None:
                return
            self._canceled.add(name)
            with suppress(ProcessLookupError):  # it is ending
                signal.pidfd_send_signal(job.pidfd, signal.SIGTERM)

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
            for name in tuple(self._running):
                self.cancel(name)
            if not self._ended.wait_for(self._is_over, timeout_s):
                for job in self._running.values():
                    guard.kill_marked(job.mark)
                self._ended.wait_for(self._is_over, _KILL_S)
            left = sorted(self._running)
        if left and self._failure is None:  # the watcher goes on, for them
            raise DeadlineExceededError(
                f"processes of {', '.join(left)} are still there {_KILL_S:g} s after SIGKILL: they hang in the kernel, "
                "probably on a file system that does not answer; look at them with ps"
            )
        self._stop_watching()

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

    def _start(self, spec: JobSpec) -> _Job:
        mark = uuid.uuid4().hex
        python = (sys.executable, "-I", "-S", guard.__file__)
        with open_log(spec.log) as log:
            process = subprocess.Popen(
                (*python, str(self._lifeline), str(self._grace_s), *spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.working_directory,
                env={**os.environ, **spec.environment, guard.MARK_VARIABLE: mark},
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        try:
            return _Job(spec.name, process, os.pidfd_open(process.pid), mark)
        except OSError:
            process.kill()
            process.wait(_KILL_S)
            raise

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
        returned = job.guard.wait(_KILL_S)  # it has ended: this only collects it
        _kill_leftovers(job.mark)
        with self._ended:
            canceled = job.name in self._canceled
            del self._running[job.name]
            os.close(job.pidfd)
        state, message = _verdict(returned, canceled)
        self._updates.announce(job.name, state, returned if returned >= 0 else None, message)
        with self._ended:
            self._ended.notify_all()


def _check(spec: JobSpec) -> None:
    """Refuses what cannot start.

    Raises:
        ConfigurationError: no such directory or command.
    """
    if not spec.working_directory.is_dir():
        raise ConfigurationError(
            f"job {spec.name!r} is to run in {spec.working_directory}, which is not a directory: create it first"
        )
    program, path = spec.command[0], spec.environment.get("PATH", os.environ.get("PATH", os.defpath))
    # As exec will see it: a relative path with a slash starts at the job's directory.
    found = shutil.which(str(spec.working_directory / program) if "/" in program else program, path=path)
    if found is None:
        where = "an executable file" if "/" in program else f"on PATH ({path})"
        raise ConfigurationError(
            f"job {spec.name!r} starts the command {program!r}, which is not {where}: install it, or write the full "
            "path of an executable in the solver's command or start command"
        )


def _kill_leftovers(mark: str) -> None:
    """Ends what a guard that was killed could not end itself."""
    deadline = time.monotonic() + _KILL_S
    while guard.kill_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.01)


def _verdict(returned: int, canceled: bool) -> tuple[JobState, str]:
    """Final state and message from what `Popen.wait` returned."""
    if canceled:
        return JobState.CANCELED, "canceled"
    if returned == 0:
        return JobState.COMPLETED, "exit code 0"
    if returned > 0:
        return JobState.FAILED, f"exit code {returned}"
    names = {number.value: number.name for number in signal.Signals}  # real-time signals have none
    return JobState.FAILED, f"killed by {names.get(-returned, f'signal {-returned}')}"
