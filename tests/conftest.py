"""What every test must leave behind: no thread, no child process; and the cluster that some take."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.fixtures import cluster, emulated_cluster

__all__ = ["cluster", "emulated_cluster"]

_SETTLE_S = 5.0
#: Threads of libraries that live as long as the process.
_LIBRARY_THREADS = ("pydevd", "asyncio_", "ThreadPoolExecutor", "pt_", "tensorboard")


def _children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:
            continue
    return {pid for pid in found if _alive(pid)}


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _threads() -> set[threading.Thread]:
    return {
        t
        for t in threading.enumerate()
        if not t.name.startswith(_LIBRARY_THREADS) and not type(t).__module__.startswith("zmq.")
    }


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    threads, children = _threads(), _children()
    yield
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        left = {t for t in _threads() - threads if t.is_alive()}
        born = _children() - children
        if not left and not born:
            return
        for thread in left:
            thread.join(0.05)
        for pid in born:
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                continue
    pytest.fail(f"left behind: threads {[t.name for t in left]}, processes {sorted(born)}")
