"""The living processes of a study, by what they were started with."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from melissa_like.client.environment import JOB_VARIABLE, RUN_DIR_VARIABLE

__all__ = ["Living", "living", "signal_one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """A process.

    Attributes:
        role: `server`, `solver` (a rank), `guard`, or `starter` (mpiexec and its like).
        name: of its job: `server-0`, `server-0:2`, `job-0007`.
        started: in clock ticks since the boot; with the pid it names a process for ever.
    """

    pid: int
    role: str
    name: str
    started: str


def living(run_dir: Path) -> list[Living]:
    """All processes of the study in a run directory but its launcher, by pid."""
    found = (_look(int(name), str(run_dir)) for name in os.listdir("/proc") if name.isdigit())
    return sorted((process for process in found if process is not None), key=lambda process: process.pid)


def signal_one(process: Living, number: int) -> bool:
    """Send a signal; False if the process has ended, whoever has its id now."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if _started(process.pid) != process.started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (OSError, IndexError):
        return False
    finally:
        os.close(descriptor)
    return True


def _look(pid: int, run_dir: str) -> Living | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        variables = dict(_variables(pid))
        state, started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0], _started(pid)
    except OSError:  # it has just ended, or belongs to somebody else
        return None
    if state == "Z":
        return None
    guarded = words[1:3] == ["-I", "-S"]
    if run_dir in words and "melissa_like.server" in words:
        name = words[words.index(run_dir) + 1]
        return Living(pid=pid, role="guard" if guarded else "server", name=name, started=started)
    if variables.get(RUN_DIR_VARIABLE) != run_dir:
        return None
    is_rank = "melissa_like.client" in words and words[0].rpartition("/")[2].startswith("python")
    role = "guard" if guarded else "solver" if is_rank else "starter"
    return Living(pid=pid, role=role, name=variables.get(JOB_VARIABLE, ""), started=started)


def _variables(pid: int) -> Iterator[tuple[str, str]]:
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, found, value = entry.decode(errors="replace").partition("=")
        if found:
            yield name, value


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
