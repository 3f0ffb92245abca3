"""The process above a local job: it ends when nothing of the job is left, and leaves nothing of it behind.

Runs as a program of its own, `python -I -S guard.py LIFELINE GRACE_S LOG_LIMIT COMMAND...`, with the standard library
only (10 ms to start, 10 MB). Its stdout is the job's log. It starts the command as its child and then sleeps until one
of these:

- the lifeline, a pipe that only the launcher holds open for writing, ends: the launcher has gone, however it ended;
- SIGTERM: the job was canceled;
- SIGUSR1, by which a scheduler tells that its job ends soon: it is passed on to the main process;
- a process of the job ends;
- the job prints something: it prints into a pipe, and the guard copies that to the log, of which it keeps the beginning
  and the end once there is more than LOG_LIMIT bytes. A log that cannot be written any more does not hold up the job.

At the end of the lifeline and at SIGTERM every process of the job gets SIGTERM and, `GRACE_S` later, SIGKILL. When the
main process ends without having been asked to, the others get SIGKILL at once. In the end the guard exits as the main
process did, with its exit code or by its signal, so its parent need not know that there is a guard.

Why it stays, instead of becoming the command with PR_SET_PDEATHSIG set: that signal reaches one process, once, and
comes when the *thread* that forked ends. Somebody must be left to follow with SIGKILL when SIGTERM is ignored. And
neither process group nor session finds the ranks: every mpich rank and its proxy is a session leader. So the guard
is a *subreaper*: orphans of the job become its children, and "no child left" means that nothing is left at all.

If the guard itself is killed, the command gets SIGTERM by PR_SET_PDEATHSIG, and the executor ends what carries the
job's mark in its environment (`kill_marked`).

`run_guarded` is the same for another program of the standard library only, which has no lifeline: a process of a batch
job (`batch/start.py`), whose scheduler sends the SIGTERM.
"""

import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["MARK_VARIABLE", "end_like", "kill_marked", "run_guarded"]

#: Environment variable that names a job uniquely; every process of the job inherits it.
MARK_VARIABLE = "MELISSA_LIKE_JOB_MARK"

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_KILL_AGAIN_S = 0.05  # a tree may fork while it is being killed
_PIPE_BYTES = 2**20  # an unprivileged process may have as much
_MOST_AT_ONCE_BYTES = 2**18
_REST_S = 0.005  # after little was printed, so that not every line wakes this process


def kill_marked(mark: str) -> bool:
    """Sends SIGKILL to the processes of this user whose environment has the mark; returns whether there were any."""
    entry = f"{MARK_VARIABLE}={mark}".encode()
    found = False
    for pid in _all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        # A zombie has no environment any more: it does not count.
        if entry in environment.split(b"\0"):
            found = True
            _signal(pid, signal.SIGKILL)
    return found


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # ended meanwhile, or now runs as somebody else
        return


def _signal_tree(number: int) -> None:
    """Signals every descendant of this process."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            continue
        # The command name, in parentheses, may hold anything: count the fields from its end.
        children.setdefault(int(stat[stat.rindex(b")") + 1 :].split()[1]), []).append(pid)
    reached = list(children.get(os.getpid(), ()))
    for pid in reached:  # grows while it is walked
        reached.extend(children.get(pid, ()))
    for pid in reached:
        _signal(pid, number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


class _Output:
    """What the job prints, on its way from a pipe into the log.

    Args:
        log: descriptor of a file, read and written; what it holds already stays.
        limit: of the bytes that are added. Half is for the beginning; the end has from a quarter to a half.
    """

    def __init__(self, log: int, limit: int) -> None:
        self._log = log
        self._limit = limit
        self._end = os.lseek(log, 0, os.SEEK_END)
        self._most = self._end + limit
        self._head_end = self._tail_begin = self._end + limit // 2
        self._left_out = 0
        self._at_once = min(_MOST_AT_ONCE_BYTES, limit // 8)
        self._can_write = True
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        with suppress(OSError):  # the user has many pipes: the usual 64 KiB do, only slower
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def copy(self) -> int | None:
        """Moves what is there, up to some bytes: how many, 0 if nothing is; None if nobody can print any more."""
        try:
            printed = os.read(self.reading, self._at_once)
        except BlockingIOError:
            return 0
        if self._can_write:
            try:
                self._write(printed)
            except OSError:  # the disk is full, say; the launcher will find out by itself
                self._can_write = False
        return len(printed) or None

    @property
    def at_once(self) -> int:
        """What `copy` moves at most."""
        return self._at_once

    def _write(self, printed: bytes) -> None:
        if self._end + len(printed) > self._most:
            self._fold()
        while printed:
            written = os.write(self._log, printed)
            self._end += written
            printed = printed[written:]

    def _fold(self) -> None:
        """Leaves out what lies between the beginning and the last quarter."""
        tail = os.pread(self._log, self._limit // 4, self._end - self._limit // 4)
        tail = tail[tail.find(b"\n") + 1 :]
        self._left_out += self._end - len(tail) - self._tail_begin
        mark = f"\n[{self._left_out} bytes are left out here: the log may have {self._limit} (launcher.log_limit)]\n"
        self._tail_begin = self._head_end + len(mark)
        self._end = self._head_end
        os.ftruncate(self._log, os.lseek(self._log, self._end, os.SEEK_SET))
        self._write(mark.encode() + tail)


def _start(command: list[str], output: int) -> int:
    """Forks the command; the caller has SIGTERM blocked, so one that comes before exec waits until after it."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guard:
            os._exit(128 + signal.SIGTERM)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)
    except Exception as error:
        os.write(2, f"cannot execute {command[0]!r}: {error}\n".encode())
    finally:
        os._exit(127)


def _wake_on_signals() -> int:
    """Returns a file descriptor that becomes readable, with the signal's number, once one of these three comes."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    return reading


def _reap(statuses: dict[int, int]) -> bool:
    """Collects what has ended; returns whether any process of the job is left."""
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            statuses[ended[0]] = ended[1]
    except ChildProcessError:
        return False
    return True


def _supervise(main: int, lifeline: int | None, wake: int, grace_s: float, output: _Output) -> tuple[int, bool]:
    """Waits until nothing of the job is left; see `run_guarded`."""
    poller = select.poll()
    if lifeline is not None:
        poller.register(lifeline, 0)  # nobody writes: only its end is reported
    poller.register(wake, select.POLLIN)
    poller.register(output.reading, select.POLLIN)
    moved: int | None = output.at_once
    statuses: dict[int, int] = {}
    was_asked = False
    kill_at: float | None = None
    while _reap(statuses):
        if main in statuses and kill_at is None:
            kill_at = time.monotonic()
        left_s = 60.0 if kill_at is None else kill_at - time.monotonic()
        if left_s <= 0:
            _signal_tree(signal.SIGKILL)
            left_s = _KILL_AGAIN_S
        if moved is not None:
            rests = moved < output.at_once
            poller.modify(output.reading, 0 if rests else select.POLLIN)
            left_s = min(left_s, _REST_S) if rests else left_s
        ready = dict(poller.poll(left_s * 1000))
        if output.reading in ready:
            moved = output.copy()
            if moved is None:
                poller.unregister(output.reading)
        elif moved is not None:
            moved = output.at_once  # rested enough
        came = os.read(wake, 4096) if wake in ready else b""
        asked = signal.SIGTERM in came
        if signal.SIGUSR1 in came and main not in statuses:
            _signal(main, signal.SIGUSR1)
        if lifeline is not None and lifeline in ready:
            poller.unregister(lifeline)
            asked = True
        if asked and kill_at is None:
            was_asked = True
            _signal_tree(signal.SIGTERM)
            kill_at = time.monotonic() + grace_s
    while output.copy():
        pass
    return statuses[main], was_asked


def end_like(status: int) -> None:
    """Ends this process as the main process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_DUMPABLE, 0)  # no second core file beside the main process's
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def run_guarded(
    command: list[str], *, grace_s: float, log_limit_bytes: int, lifeline: int | None = None
) -> tuple[int, bool]:
    """Runs a command, copies what it prints to stdout, and returns when no process of it is left.

    Args:
        command: found on PATH.
        grace_s: between SIGTERM and SIGKILL.
        log_limit_bytes: of what is copied; stdout must be a file that is open for reading too.
        lifeline: a descriptor of a pipe; the job is ended as soon as nobody holds it open for writing.

    Returns:
        The wait status of the main process, and whether the job was asked to end before its main process had.
    """
    if lifeline is not None:
        os.set_inheritable(lifeline, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake = _wake_on_signals()
    output = _Output(1, log_limit_bytes)
    main = _start(command, output.writing)
    os.close(output.writing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return _supervise(main, lifeline, wake, grace_s, output)


def _main(arguments: list[str]) -> None:
    lifeline, grace_s, log_limit_bytes = int(arguments[0]), float(arguments[1]), int(arguments[2])
    status, _ = run_guarded(arguments[3:], grace_s=grace_s, log_limit_bytes=log_limit_bytes, lifeline=lifeline)
    end_like(status)


if __name__ == "__main__":
    _main(sys.argv[1:])
