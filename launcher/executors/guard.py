"""The process above a local job: it ends when nothing of the job is left, and leaves nothing of it behind.

Runs as a program of its own, `python -I -S guard.py LIFELINE GRACE_S COMMAND...`, with the standard library only
(10 ms to start, 10 MB). It starts the command as its child and then sleeps until one of these:

- the lifeline, a pipe that only the launcher holds open for writing, ends: the launcher has gone, however it ended;
- SIGTERM: the job was canceled;
- a process of the job ends.

In the first two cases every process of the job gets SIGTERM and, `GRACE_S` later, SIGKILL. When the main process ends
without having been asked to, the others get SIGKILL at once. In the end the guard exits as the main process did, with
its exit code or by its signal, so its parent need not know that there is a guard.

Why it stays, instead of becoming the command with PR_SET_PDEATHSIG set: that signal reaches one process, once, and
comes when the *thread* that forked ends. Somebody must be left to follow with SIGKILL when SIGTERM is ignored. And
neither process group nor session finds the ranks: every mpich rank and its proxy is a session leader. So the guard
is a *subreaper*: orphans of the job become its children, and "no child left" means that nothing is left at all.

If the guard itself is killed, the command gets SIGTERM by PR_SET_PDEATHSIG, and the executor ends what carries the
job's mark in its environment (`kill_marked`).
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MARK_VARIABLE", "kill_marked"]

#: Environment variable that names a job uniquely; every process of the job inherits it.
MARK_VARIABLE = "MELISSA_LIKE_JOB_MARK"

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_KILL_AGAIN_S = 0.05  # a tree may fork while it is being killed


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


def _start(command: list[str]) -> int:
    """Forks the command; the caller has SIGTERM blocked, so one that comes before exec waits until after it."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guard:
            os._exit(128 + signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)
    except Exception as error:
        os.write(2, f"cannot execute {command[0]!r}: {error}\n".encode())
    finally:
        os._exit(127)


def _wake_on_signals() -> int:
    """Returns a file descriptor that becomes readable, with the signal's number, once SIGTERM or SIGCHLD is let in."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
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


def _supervise(main: int, lifeline: int, wake: int, grace_s: float) -> int:
    """Waits until nothing of the job is left; returns the wait status of the main process."""
    poller = select.poll()
    poller.register(lifeline, 0)  # nobody writes: only its end is reported
    poller.register(wake, select.POLLIN)
    statuses: dict[int, int] = {}
    kill_at: float | None = None
    while _reap(statuses):
        if main in statuses and kill_at is None:
            kill_at = time.monotonic()
        left_s = 60.0 if kill_at is None else kill_at - time.monotonic()
        if left_s <= 0:
            _signal_tree(signal.SIGKILL)
            left_s = _KILL_AGAIN_S
        ready = dict(poller.poll(left_s * 1000))
        asked = wake in ready and signal.SIGTERM in os.read(wake, 4096)
        if lifeline in ready:
            poller.unregister(lifeline)
            asked = True
        if asked and kill_at is None:
            _signal_tree(signal.SIGTERM)
            kill_at = time.monotonic() + grace_s
    return statuses[main]


def _end_like(status: int) -> None:
    """Ends this process as the main process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_DUMPABLE, 0)  # no second core file beside the main process's
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _main(arguments: list[str]) -> None:
    lifeline, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    os.set_inheritable(lifeline, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake = _wake_on_signals()
    main = _start(command)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _end_like(_supervise(main, lifeline, wake, grace_s))


if __name__ == "__main__":
    _main(sys.argv[1:])
