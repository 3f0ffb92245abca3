"""What an executor pays for jobs that wait in a scheduler's queue: processor time, commands, delays.

The scheduler is recorded: its squeue prints lines of Slurm 22.05, one per job, its sbatch an id.
"""

import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from melissa_like.launcher.executors import BatchExecutor, JobSpec, JobState
from melissa_like.launcher.executors.batch import Slurm
from tests.benchmarks.measure import Row, print_rows, shown

NUMS = (10, 1000)
WATCHED_S = 60.0
POLL_S = 5.0
ENDS = 20


class Recorded:
    """Commands of a Slurm that lists what it was told to list, and counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.commands = folder / "bin"
        self.commands.mkdir()
        self._list, self._calls = folder / "list", folder / "calls"
        self._list.touch()
        self._write("squeue", f"echo squeue >> {self._calls}; exec cat {self._list}")
        self._write("sbatch", f"echo sbatch >> {self._calls}; wc -l < {self._calls}")
        self._write("scancel", f"echo scancel >> {self._calls}; sed -i 's/PENDING/CANCELLED/' {self._list}")

    def _write(self, name: str, line: str) -> None:
        (self.commands / name).write_text(f"#!/bin/sh\n{line}\n")
        (self.commands / name).chmod(0o755)

    def queue(self, handles: Sequence[str]) -> None:
        """All of an array wait."""
        key = handles[0].partition("/")[0]
        lines = (f"1_{place}|PENDING|Priority||melissa-like:study:{key}\n" for place in range(len(handles)))
        self._list.with_suffix(".new").write_text("".join(lines))
        self._list.with_suffix(".new").rename(self._list)

    @property
    def num_calls(self) -> int:
        """Commands so far."""
        return len(self._calls.read_text().splitlines()) if self._calls.exists() else 0


def processor_s() -> tuple[float, float]:
    """Of this process, and of the commands that it has run."""
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime, theirs.ru_utime + theirs.ru_stime


@contextmanager
def queued(num: int) -> Iterator[tuple[BatchExecutor, Recorded, dict[str, str], threading.Event, Path]]:
    """An executor of which so many jobs wait."""
    with TemporaryDirectory() as folder:
        here, changed = Path(folder), threading.Event()
        recorded = Recorded(here)
        scheduler = Slurm(commands=str(recorded.commands), array_limit=num)
        specs = [
            JobSpec(name=f"job-{i}", command=("true",), log=here / "log", working_directory=here) for i in range(num)
        ]
        with BatchExecutor(
            on_change=changed.set, scheduler=scheduler, run_dir=here, poll_interval_s=POLL_S
        ) as executor:
            handles = dict(executor.submit(specs, "study"))
            recorded.queue(list(handles.values()))
            told: set[str] = set()
            while len(told) < num:
                assert changed.wait(30.0)
                changed.clear()
                told.update(update.name for update in executor.poll() if update.message == "Priority")
            yield executor, recorded, handles, changed, here


def watch(num: int) -> Row:
    """A minute in which nothing changes, then the ends of some jobs."""
    with queued(num) as (executor, recorded, handles, changed, folder):
        (mine, theirs), calls, begun = processor_s(), recorded.num_calls, time.monotonic()
        time.sleep(WATCHED_S)
        elapsed = time.monotonic() - begun
        mine_after, theirs_after = processor_s()
        calls = recorded.num_calls - calls
        delays = [seen_after(executor, handles[f"job-{i}"], changed, folder) for i in range(min(ENDS, num // 2))]
    return Row(
        {
            "jobs that wait": str(num),
            "launcher, % of a core": f"{100 * (mine_after - mine) / elapsed:.2f}",
            "its commands, % of a core": f"{100 * (theirs_after - theirs) / elapsed:.2f}",
            "commands per minute": f"{60 * calls / elapsed:.1f}",
            "s until an end is seen": shown(delays),
        }
    )


def seen_after(executor: BatchExecutor, handle: str, changed: threading.Event, folder: Path) -> float:
    """Seconds from an end record to the final update."""
    record = folder / "jobs" / "ends" / handle.replace("/", ".")
    record.with_suffix(".new").write_text('{"exit_code": 0, "signal": null, "was_asked": false, "failure": ""}')
    os.rename(record.with_suffix(".new"), record)
    written = time.monotonic()
    while not any(update.state is JobState.COMPLETED for update in executor.poll()):
        assert changed.wait(30.0)
        changed.clear()
    return time.monotonic() - written


def main() -> None:
    """Print the table."""
    title = "jobs in a queue: the list is asked for every 5 s, end records are looked for twice a second"
    print_rows(title, [watch(num) for num in NUMS])
