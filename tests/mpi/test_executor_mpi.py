"""MPI jobs of the local executor: no rank is left behind, whoever is killed.

The ranks are found by a variable in their environment, through /proc: with mpich each of them, and the proxy above
them, leads a session of its own, so neither process group nor session would find them.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from melissa_like.launcher.executors import (
    DEFAULT_LAUNCH,
    JobSpec,
    JobState,
    JobUpdate,
    LocalExecutor,
    launch_command,
    log_tail,
)

NUM_RANKS = 2
STUDY = uuid.uuid4().hex
DEADLINE_S = 30.0
GRACE_S = 0.5
START = launch_command(DEFAULT_LAUNCH, NUM_RANKS, [sys.executable, "-I", "-S", "-c"])

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(shutil.which(START[0]) is None, reason="needs mpiexec: pip install 'melissa-like[mpi]'"),
]

OBEDIENT = "import os, sys, time; os.write(os.open(sys.argv[1], os.O_WRONLY), b'.'); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"
CRASHING = f"import os, signal; os.environ['PMI_RANK'] == '1' and os.kill(os.getpid(), signal.SIGKILL); {OBEDIENT}"


class Ranks:
    """The processes of one job: a command that starts them, word of their start, and who of them is alive."""

    def __init__(self, folder: Path) -> None:
        self.variable = f"TEST_RANKS_{uuid.uuid4().hex}"
        self._path = folder / "started"
        os.mkfifo(self._path)
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)

    def command(self, program: str) -> tuple[str, ...]:
        return (*START, program, str(self._path))

    def wait_for_start(self) -> None:
        poller, started = select.poll(), 0
        poller.register(self.descriptor, select.POLLIN)
        while started < NUM_RANKS:
            assert poller.poll(DEADLINE_S * 1000), f"{started} of {NUM_RANKS} ranks have started"
            started += len(os.read(self.descriptor, NUM_RANKS))

    def alive(self) -> dict[int, str]:
        """Process ids and command lines, mpiexec and its proxy among them; a zombie is dead."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and self.variable.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or not ours
                continue
        return found


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    made = Ranks(tmp_path)
    yield made
    os.close(made.descriptor)
    assert made.alive() == {}


@pytest.fixture
def spec(tmp_path: Path, ranks: Ranks) -> Callable[[str], JobSpec]:
    return lambda program: JobSpec(
        name="a",
        command=ranks.command(program),
        environment={ranks.variable: "1"},
        log=tmp_path / "a.log",
        working_directory=tmp_path,
        num_ranks=NUM_RANKS,
        num_processes=NUM_RANKS,
    )


def final(executor: LocalExecutor, changed: threading.Event) -> JobUpdate:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert changed.wait(deadline - time.monotonic()), "the job did not end"
        changed.clear()
        for update in executor.poll():
            if update.state.is_final:
                return update


@pytest.mark.parametrize("program", [OBEDIENT, DEAF], ids=["obedient", "deaf"])
def test_a_canceled_job_leaves_no_rank(ranks, spec, program):
    changed = threading.Event()
    with LocalExecutor(on_change=changed.set, grace_s=GRACE_S) as executor:
        handles = executor.submit([spec(program)], STUDY)
        ranks.wait_for_start()
        executor.cancel(handles["a"])
        assert final(executor, changed).state is JobState.CANCELED
        assert ranks.alive() == {}


@pytest.mark.parametrize("victim", ["mpiexec", "guard"])
def test_a_killed_process_above_the_ranks_leaves_no_rank(ranks, spec, victim):
    changed = threading.Event()
    with LocalExecutor(on_change=changed.set, grace_s=GRACE_S) as executor:
        executor.submit([spec(DEAF)], STUDY)
        ranks.wait_for_start()
        mpiexec = next(pid for pid, words in ranks.alive().items() if words.startswith(START[0]))
        guard = int(Path(f"/proc/{mpiexec}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(mpiexec if victim == "mpiexec" else guard, signal.SIGKILL)
        assert final(executor, changed).message == "killed by SIGKILL"
        assert ranks.alive() == {}


def test_a_crashed_rank_fails_the_job(ranks, spec):
    changed = threading.Event()
    job = spec(CRASHING)
    with LocalExecutor(on_change=changed.set, grace_s=GRACE_S) as executor:
        executor.submit([job], STUDY)
        update = final(executor, changed)
        assert (update.state, update.exit_code) == (JobState.FAILED, signal.SIGKILL.value), log_tail(job.log)
        assert ranks.alive() == {}


LAUNCHER = """
import sys, threading
from pathlib import Path
from melissa_like.launcher.executors import JobSpec, LocalExecutor

with LocalExecutor(on_change=lambda: None, grace_s=0.5) as executor:
    job = JobSpec(name="a", command=tuple(sys.argv[1:]), log=Path("a.log"), working_directory=Path.cwd())
    executor.submit([job], "study")
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("program", [OBEDIENT, DEAF], ids=["obedient", "deaf"])
def test_a_launcher_killed_by_sigkill_leaves_no_rank(ranks, tmp_path, program):
    arguments = (sys.executable, "-c", LAUNCHER, *ranks.command(program))
    with subprocess.Popen(arguments, cwd=tmp_path, env={**os.environ, ranks.variable: "1"}) as launcher:
        try:
            ranks.wait_for_start()
            watched = [os.pidfd_open(pid) for pid in ranks.alive() if pid != launcher.pid]
        finally:
            launcher.kill()
    assert len(watched) >= NUM_RANKS + 2  # mpiexec and its guard at least
    deadline = time.monotonic() + 3 + GRACE_S
    for descriptor in watched:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        assert poller.poll(max(0.0, deadline - time.monotonic()) * 1000), f"still there: {ranks.alive()}"
        os.close(descriptor)
