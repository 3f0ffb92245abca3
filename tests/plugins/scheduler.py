"""A scheduler of one's own: jobs are files in a spool directory, and go on when the launcher is dead.

Each job is a few files there: `HANDLE.job` says what it is, `HANDLE.queued` that it was taken, `HANDLE.pid` that it
runs, `HANDLE.cancel` that its end was asked for, `HANDLE.end` how it ended. A small process above each job writes them;
it depends on no launcher. A job waits in the queue as long as there is a file `held/NAME`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import FoundJob, JobSpec, JobState, JobUpdate, Traits

#: Leaves a process behind that is nobody's child, runs the job, ends all of its process group and writes how it ended.
_ABOVE = """
import json, os, signal, subprocess, sys, time
path, what = sys.argv[1], json.loads(sys.argv[2])
def write(kind, text):
    with open(path + kind + ".new", "w") as file:
        file.write(text)
    os.rename(path + kind + ".new", path + kind)  # nobody reads half of it
def send(number):
    try:
        os.killpg(job.pid, number)
    except ProcessLookupError:
        pass
signals = (signal.SIGTERM, signal.SIGCHLD)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # none is missed between two waits
write(".job", sys.argv[2])
if pid := os.fork():
    write(".queued", str(pid))
    os._exit(0)
os.setsid()
while os.path.exists(os.path.join(os.path.dirname(path), "held", what["name"])):
    if signal.sigtimedwait((signal.SIGTERM,), 0.02):
        write(".end", str(-signal.SIGTERM))
        os._exit(0)
write(".pid", str(os.getpid()))
def let_in():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
try:
    job = subprocess.Popen(what["command"], start_new_session=True, preexec_fn=let_in)
    kill_at = float("inf")
    while (code := job.poll()) is None:
        got = signal.sigtimedwait(signals, max(0.0, min(60.0, kill_at - time.monotonic())))
        if time.monotonic() >= kill_at:
            send(signal.SIGKILL)
            kill_at = time.monotonic() + 0.1
        elif got is not None and got.si_signo == signal.SIGTERM and kill_at == float("inf"):
            send(signal.SIGTERM)
            kill_at = time.monotonic() + what["grace_s"]
    send(signal.SIGKILL)  # what its main process has left
except OSError as error:
    print(error, file=sys.stderr, flush=True)
    code = 127
write(".end", str(code))
"""
_HOPELESS = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)


class SpoolExecutor:
    """Submits to a spool directory and looks into it every so often.

    Args:
        on_change: called when `poll` has something new.
        spool: the directory; every launcher that is given it sees the same jobs.
        grace_s: between SIGTERM and SIGKILL.
        every_s: between two looks.
    """

    traits = Traits()

    def __init__(
        self, *, on_change: Callable[[], None], spool: str, grace_s: float = 5.0, every_s: float = 0.05
    ) -> None:
        self._on_change = on_change
        self._spool = Path(spool).resolve()
        self._grace_s = grace_s
        self._every_s = every_s
        self._lock = threading.Lock()  # guards the next two
        self._jobs: dict[str, tuple[str, JobState]] = {}  # name and last known state, by handle, until the end
        self._updates: list[JobUpdate] = []
        self._names: set[str] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._spool.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._look_again, name="spool", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close(2 * self._grace_s + 5.0)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        self._check_open()
        if idle := [spec.name for spec in specs if not spec.command]:
            raise ValueError(f"the jobs {', '.join(idle)} have no command")
        names = [spec.name for spec in specs]
        for name in names:
            if name in self._names or names.count(name) > 1:
                raise ValueError(f"a job named {name!r} was submitted before")
        self._names.update(names)
        handles = {}
        for spec in specs:
            try:
                handles[spec.name] = self._submit(spec, study)
            except (OSError, subprocess.SubprocessError) as error:
                hope = not isinstance(error, _HOPELESS)
                self._tell(JobUpdate(name=spec.name, state=JobState.FAILED, message=str(error), retry=hope))
        return handles

    def find(self, study: str) -> tuple[FoundJob, ...]:
        self._check_open()
        found = []
        with self._lock:  # nothing ends for us meanwhile
            files = {file.name for file in os.scandir(self._spool)}
            for handle in sorted(name.removesuffix(".queued") for name in files if name.endswith(".queued")):
                job = json.loads((self._spool / f"{handle}.job").read_text())
                if job["study"] == study and f"{handle}.end" not in files:
                    now = JobState.ACTIVE if f"{handle}.pid" in files else JobState.QUEUED
                    _, state = self._jobs.setdefault(handle, (job["name"], now))
                    self._names.add(job["name"])
                    found.append(FoundJob(name=job["name"], handle=handle, state=state))
        return tuple(found)

    def poll(self) -> tuple[JobUpdate, ...]:
        with self._lock:
            updates, self._updates = tuple(self._updates), []
        self._names.difference_update(update.name for update in updates if update.state.is_final)
        return updates

    def cancel(self, handle: str) -> None:
        pid_file = self._spool / f"{handle}.queued"
        if pid_file.exists() and not (self._spool / f"{handle}.end").exists():
            (self._spool / f"{handle}.cancel").touch()
            with suppress(ProcessLookupError):
                os.kill(int(pid_file.read_text()), signal.SIGTERM)

    def close(self, timeout_s: float) -> None:
        if self._thread is None or self._closed.is_set():
            return
        deadline = time.monotonic() + timeout_s
        for handle in self._living():
            self.cancel(handle)
        while self._living() and time.monotonic() < deadline:
            time.sleep(self._every_s)
        self._closed.set()
        self._thread.join(10.0)
        if left := self._living():
            raise DeadlineExceededError(f"the jobs {', '.join(left)} are still there {timeout_s:g} s after SIGTERM")

    def _check_open(self) -> None:
        if self._thread is None or self._closed.is_set():
            raise ValueError("the executor is not open: use it within `with`")

    def _living(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._jobs)

    def _submit(self, spec: JobSpec, study: str) -> str:
        program, path = spec.command[0], spec.environment.get("PATH", os.environ["PATH"])
        if shutil.which(str(spec.working_directory / program) if "/" in program else program, path=path) is None:
            raise FileNotFoundError(f"{program!r} is no program")
        handle = uuid.uuid4().hex
        what = {"name": spec.name, "study": study, "command": spec.command, "grace_s": self._grace_s}
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            subprocess.run(
                (sys.executable, "-I", "-S", "-c", _ABOVE, str(self._spool / handle), json.dumps(what)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.working_directory,
                env={**os.environ, **spec.environment},
                check=True,
                timeout=60,
            )
        with self._lock:
            self._jobs[handle] = spec.name, JobState.QUEUED
        return handle

    def _tell(self, update: JobUpdate) -> None:
        with self._lock:
            self._updates.append(update)
        self._on_change()

    def _look_again(self) -> None:
        while not self._closed.wait(self._every_s):
            self._look()
        self._look()

    def _look(self) -> None:
        """One look for all jobs, however many there are."""
        files = {file.name for file in os.scandir(self._spool)}
        with self._lock:
            jobs = dict(self._jobs)
        for handle, (name, state) in jobs.items():
            if f"{handle}.pid" in files and state is JobState.QUEUED:
                with self._lock:
                    self._jobs[handle] = name, JobState.ACTIVE
                self._tell(JobUpdate(name=name, state=JobState.ACTIVE))
            if f"{handle}.end" in files:
                with self._lock:
                    del self._jobs[handle]
                self._tell(self._final(name, handle, f"{handle}.cancel" in files))

    def _final(self, name: str, handle: str, canceled: bool) -> JobUpdate:
        returned = int((self._spool / f"{handle}.end").read_text())
        code = returned if returned >= 0 else None
        if canceled:
            return JobUpdate(name=name, state=JobState.CANCELED, exit_code=code, message="canceled")
        if returned < 0:
            text = f"killed by {signal.Signals(-returned).name}"
            return JobUpdate(name=name, state=JobState.FAILED, message=text)
        state = JobState.FAILED if returned else JobState.COMPLETED
        return JobUpdate(name=name, state=state, exit_code=code, message=f"exit code {code}")
