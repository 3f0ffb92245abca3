"""The processes of a program.

Neither the process group nor the session finds them, because every rank of mpich is a session leader. So a follower is
a *subreaper* (`become_subreaper`): what the program leaves behind becomes the follower's child, and is known by a mark
in its environment from what the reader may have started.
"""

import ctypes
import os
import signal
import time
from pathlib import Path

__all__ = ["Tree", "become_subreaper", "die_with_parent"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ENDED = frozenset("ZX")
_STOPPED = _ENDED | frozenset("Tt")
_PAUSE_S = 0.01
_STOP_S = 2.0
_KILL_S = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


class Tree:
    """A child of this process with all that descends from it, orphans too.

    Args:
        main: process id of the child.
        mark: `NAME=value` in the environment of the child, and of nothing else.
    """

    def __init__(self, main: int, mark: str) -> None:
        self._mark = mark.encode()
        self._known = {main}

    def signal(self, number: int) -> None:
        """Signal all of them: parents first, but to go on (SIGCONT) children first."""
        pids = [*self._states()]
        for pid in reversed(pids) if number == signal.SIGCONT else pids:
            _signal(pid, number)

    def stop(self) -> bool:
        """Stop all of them (SIGSTOP), parents first, so that none sees its children stop; takes 2 s at most.

        Returns:
            Whether all have stopped: a process that writes only stops when that call has returned.
        """
        deadline = time.monotonic() + _STOP_S
        while True:
            running = [pid for pid, state in self._states().items() if state not in _STOPPED]
            if not running:
                return True
            if time.monotonic() > deadline:
                return False
            for pid in running:  # a process that was just forked was not in the pass before
                _signal(pid, signal.SIGSTOP)
            time.sleep(_PAUSE_S)

    def end(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace, until all have ended; they are not collected.

        Returns after the grace and 5 s at the latest: what hangs in the kernel is left.
        """
        if grace_s > 0:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
        kill_at = time.monotonic() + grace_s
        while any(state not in _ENDED for state in self._states().values()):
            now = time.monotonic()
            if now >= kill_at + _KILL_S:
                return
            if now >= kill_at:
                self.signal(signal.SIGKILL)
            time.sleep(_PAUSE_S)

    def collect(self) -> None:
        """Take note of the ends of those that have become children of this process."""
        for pid in self._states():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # of another process, which does it itself
                continue

    def _states(self) -> dict[int, str]:
        """The states of all of them by pid, parents before children."""
        children = _children()
        found: dict[int, str] = {}
        for pid, state in children.get(os.getpid(), ()):
            if pid in self._known or self._has_mark(pid):
                found[pid] = state
        pids = [*found]
        for pid in pids:  # grows while it is walked
            for child, state in children.get(pid, ()):
                found[child] = state
                pids.append(child)
        self._known.update(found)
        return found

    def _has_mark(self, pid: int) -> bool:
        try:
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            return False


def become_subreaper() -> None:
    """From now on orphans among the descendants of this process become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """For a new child, before it becomes another program: it is killed when its parent's thread ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _children() -> dict[int, list[tuple[int, str]]]:
    """The children of every process with their states."""
    children: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_bytes()
        except OSError:  # ended meanwhile
            continue
        # The command name, in parentheses, may hold anything: count the fields from its end.
        state, parent = stat[stat.rindex(b")") + 1 :].split()[:2]
        children.setdefault(int(parent), []).append((int(name), state.decode()))
    return children


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # ended meanwhile, or now runs as somebody else
        return


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")
