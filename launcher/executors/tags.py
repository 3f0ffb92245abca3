"""Which local jobs run, whoever started them: every process carries the tags of its job in its environment.

A handle is the address of one process for ever: host, boot of that host, process id, and when the process started.
Process ids are used again, also after a reboot; the four together are not.
"""

import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from melissa_like.launcher.executors import guard

__all__ = ["TaggedJob", "handle_of", "job_of_handle", "jobs_of_study", "open_process", "tags"]

_STUDY = "MELISSA_LIKE_JOB_STUDY"
_NAME = "MELISSA_LIKE_JOB_NAME"
#: Fields of /proc/PID/stat behind the command's name.
_PARENT, _STARTED = 1, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedJob:
    """A job that runs.

    Attributes:
        name: of its `JobSpec`.
        mark: what all its processes carry (see `guard.kill_marked`).
        pid: of its guard; of its oldest process where the guard has been killed.
        handle: of this process.
        guarded: whether it is the guard, which ends the whole job when it gets SIGTERM.
    """

    name: str
    mark: str
    pid: int
    handle: str
    guarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    pid: int
    parent: int
    started: int
    study: str
    name: str
    mark: str
    is_guard: bool


def tags(study: str, name: str, mark: str) -> dict[str, str]:
    """The environment variables by which a job is found."""
    return {_STUDY: study, _NAME: name, guard.MARK_VARIABLE: mark}


def jobs_of_study(study: str) -> tuple[TaggedJob, ...]:
    """The jobs of this user that carry the study's tag, oldest first."""
    jobs: defaultdict[str, list[_Process]] = defaultdict(list)
    for process in _tagged_processes():
        if process.study == study:
            jobs[process.mark].append(process)
    return tuple(_job(head) for head in sorted(map(_head, jobs.values()), key=lambda head: head.started))


def job_of_handle(handle: str) -> TaggedJob | None:
    """The job whose process a handle names; None if that has ended, or is another machine's, or is no handle."""
    pid = handle.rpartition("/")[0].rpartition("/")[2]
    try:
        if not pid.isdigit() or handle_of(int(pid)) != handle:
            return None
    except OSError:
        return None
    process = _tagged(int(pid))
    return None if process is None else _job(process)


def handle_of(pid: int) -> str:
    """The handle of a process that exists; a zombie does.

    Raises:
        OSError: it does not.
    """
    return _handle(pid, int(_stat(pid)[_STARTED]))


def open_process(job: TaggedJob) -> int | None:
    """A process descriptor of the job's process, and of no other that has its id now; None if it has ended."""
    try:
        descriptor = os.pidfd_open(job.pid)
    except ProcessLookupError:
        return None
    try:
        if handle_of(job.pid) == job.handle:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _handle(pid: int, started: int) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}/{boot}/{pid}/{started}"


def _job(process: _Process) -> TaggedJob:
    handle = _handle(process.pid, process.started)
    return TaggedJob(name=process.name, mark=process.mark, pid=process.pid, handle=handle, guarded=process.is_guard)


def _head(processes: list[_Process]) -> _Process:
    """The guard; its child looks the same until it becomes the command, but has the guard for its parent."""
    guards = {process.pid: process for process in processes if process.is_guard}
    for process in guards.values():
        if process.parent not in guards:
            return process
    return min(processes, key=lambda process: process.started)


def _tagged_processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _tagged(int(name))) is not None:
            yield process


def _tagged(pid: int) -> _Process | None:
    """A process that carries tags; None for one without, for a zombie, for somebody else's, and for none."""
    try:
        # A zombie has no environment any more.
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        study, name, mark = (found.get(key.encode()) for key in (_STUDY, _NAME, guard.MARK_VARIABLE))
        if study is None or name is None or mark is None:
            return None
        stat = _stat(pid)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    program = Path(os.fsdecode(b"".join(words[3:4]))).name
    return _Process(
        pid=pid,
        parent=int(stat[_PARENT]),
        started=int(stat[_STARTED]),
        study=os.fsdecode(study),
        name=os.fsdecode(name),
        mark=os.fsdecode(mark),
        is_guard=words[1:3] == [b"-I", b"-S"] and program == Path(guard.__file__).name,
    )


def _stat(pid: int) -> list[str]:
    # The command's name, in parentheses, may hold anything: the fields are counted behind it.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
