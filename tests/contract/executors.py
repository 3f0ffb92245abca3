"""What the tests of executors share: what an executor told, and how each of them is named and given a job.

A harness says how an executor is named and how a job with some behaviour is written for it. The spool executor is as a
user writes one (tests/plugins/scheduler.py); the Slurm below `slurm` is a small program (tests/plugins/fake_slurm.py).
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from melissa_like.launcher.executors import Executor, JobSpec, JobState, JobUpdate
from melissa_like.plugins import make
from tests.plugins import fake_slurm, fake_steps

DEADLINE_S = 20.0  # generous: it catches hangs
GRACE_S = 0.3


class Observed:
    """An executor, and what it told so far."""

    def __init__(self, executor: Executor, changed: threading.Event, study: str) -> None:
        self.executor = executor
        self.changed = changed
        self.study = study
        self.updates: list[JobUpdate] = []

    def submit(self, *specs: JobSpec) -> Mapping[str, str]:
        return self.executor.submit(specs, self.study)

    def of(self, name: str) -> list[JobUpdate]:
        """What was told of a job, but for why it waited."""
        return [u for u in self.updates if u.name == name and u.state is not JobState.QUEUED]

    def until(self, condition: Callable[[], bool]) -> None:
        """Polls at each `on_change`, and at nothing else, until the condition holds."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.changed.wait(deadline - time.monotonic()), f"no change came; so far: {self.updates}"
            self.changed.clear()
            self.updates.extend(self.executor.poll())

    def active(self, name: str) -> None:
        self.until(lambda: any(update.state is JobState.ACTIVE for update in self.of(name)))

    def final(self, name: str) -> JobUpdate:
        self.until(lambda: any(update.state.is_final for update in self.of(name)))
        return self.of(name)[-1]


class Harness(Protocol):
    def __init__(self, folder: Path) -> None: ...

    recipe: dict[str, Any]
    """How the executor is named in a configuration."""

    def fails_with(self, text: str) -> dict[str, Any]:
        """What a job runs that writes a text into its log and fails."""

    def exits(self, code: int) -> dict[str, Any]:
        """What a job runs that exits with a code."""

    def runs_until_canceled(self, started: Path) -> dict[str, Any]:
        """What a job runs that writes its process id to a pipe and then runs until it is canceled."""


class ProcessHarness:
    def exits(self, code: int) -> dict[str, Any]:
        return shell(f"exit {code}")

    def fails_with(self, text: str) -> dict[str, Any]:
        return shell(f"printf '%s' '{text}'; exit 1")

    def runs_until_canceled(self, started: Path) -> dict[str, Any]:
        return shell(f"echo $$ > {started}; exec sleep 60")


class LocalHarness(ProcessHarness):
    def __init__(self, folder: Path) -> None:
        self.recipe = {"_target_": "melissa_like.launcher.executors.LocalExecutor", "grace_s": GRACE_S}


class SpoolHarness(ProcessHarness):
    def __init__(self, folder: Path) -> None:
        self.recipe = {
            "_target_": "tests.plugins.scheduler.SpoolExecutor",
            "spool": str(folder / "spool"),
            "grace_s": GRACE_S,
        }


class SlurmHarness(ProcessHarness):
    """Over a Slurm that is a small program (tests/plugins/fake_slurm.py) and really runs the scripts."""

    def __init__(self, folder: Path) -> None:
        self.fake = folder / "slurm"
        self.recipe = batch_recipe(folder, commands=str(fake_slurm.install(self.fake)))


class StepsHarness(ProcessHarness):
    """In the allocation of Slurm that the tests run in, if there is one (tests/slurm makes one); else in a fake."""

    def __init__(self, folder: Path) -> None:
        self.recipe = {"_target_": "melissa_like.launcher.executors.StepsExecutor", "grace_s": GRACE_S}
        if "SLURM_JOB_ID" not in os.environ:
            self.recipe["commands"] = str(fake_steps.install(folder / "slurm-steps"))


def batch_recipe(folder: Path, **scheduler: Any) -> dict[str, Any]:
    return {
        "_target_": "melissa_like.launcher.executors.BatchExecutor",
        "scheduler": {"_target_": "melissa_like.launcher.executors.batch.Slurm", **scheduler},
        "run_dir": str(folder / "run"),
        "poll_interval_s": 0.1,
        "grace_s": GRACE_S,
    }


class InlineHarness:
    def __init__(self, folder: Path) -> None:
        self.recipe = {"_target_": "melissa_like.launcher.executors.InlineExecutor"}

    def exits(self, code: int) -> dict[str, Any]:
        return {"call": lambda canceled: code}

    def fails_with(self, text: str) -> dict[str, Any]:
        def fail(canceled: threading.Event) -> int:
            raise ArithmeticError(text)

        return {"call": fail}

    def runs_until_canceled(self, started: Path) -> dict[str, Any]:
        def run(canceled: threading.Event) -> int:
            started.write_text(str(os.getpid()))
            assert canceled.wait(DEADLINE_S)
            return 0

        return {"call": run}


HARNESSES = {
    "local": LocalHarness,
    "inline": InlineHarness,
    "spool": SpoolHarness,
    "slurm": SlurmHarness,
    "steps": StepsHarness,
}
#: Those whose jobs are processes.
PROCESSES = ["local", "spool", "slurm", "steps"]
#: Those of which something may be left by a dead launcher; the fake allocation has no node where a step could go on.
LEAVE_SOMETHING = [name for name in PROCESSES if name != "steps" or "SLURM_JOB_ID" in os.environ]


def shell(text: str) -> dict[str, Any]:
    """A job that is a line of shell."""
    return {"command": ("sh", "-c", text)}


@contextmanager
def observed(recipe: dict[str, Any], study: str) -> Iterator[Observed]:
    """An opened executor."""
    changed = threading.Event()
    with make(recipe, "launcher.executor", on_change=changed.set) as executor:
        yield Observed(executor, changed, study)


class Fifo:
    """A named pipe by which another process or thread says something to the test."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def receive(self) -> str:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        assert poller.poll(DEADLINE_S * 1000), f"nothing was written to {self.path}"
        return os.read(self._descriptor, 4096).decode()

    def send(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def close(self) -> None:
        os.close(self._descriptor)
