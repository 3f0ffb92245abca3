"""From the submission of a simulation to its first sample: a job, a step of an allocation, a process, a persistent job.

On the emulated cluster (tests/slurm), so for root. Simulations follow each other, one job at a time; the first one, for
which the server ranks start, does not count.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from melissa_like.client import connect
from melissa_like.protocol.control import Hello, Progress, Request
from melissa_like.study import Entry, read_journal
from melissa_like.study import events as ev
from tests.benchmarks.measure import Row, print_rows, shown
from tests.benchmarks.streams import ROOT, read_report
from tests.slurm import Cluster, why_no_cluster

NUM_SIMULATIONS = 10
DEADLINE_S = 300.0
ALLOCATION = ("salloc", "--quiet", "--nodes=3", "--ntasks-per-node=2")
STUDY = (
    "solver=empty",
    "solver.name=first_sample",
    "solver.num_ranks=1",
    "solver.num_steps=2",
    "+solver.fields.u={shape:[8,8],bounds:[-1,1]}",
    "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:-1,high:1}",
    f"study.num_simulations={NUM_SIMULATIONS}",
    "study.num_validation_simulations=0",
    "buffer=fifo",
    "buffer.capacity=1000",
    "training.batch_size=16",
    "model.hidden=[16]",
    "monitoring.figures=false",
    "monitoring.tensorboard=false",
)
#: A process per simulation; one for all of them.
ONE_EACH = ("solver.command=[python,-m,tests.benchmarks.first_sample]",)
PERSISTENT = ("+solver.solve._target_=tests.benchmarks.first_sample.solve",)
PAUSE_S = 0.2


def solve(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The first step at once; what was sent has arrived before the next simulation is asked for."""
    for step in range(2):
        yield step, {"u": np.full((8, 8), parameters["a"])}
        time.sleep(PAUSE_S)


def main_of_one() -> None:
    """The same as a program."""
    session = connect()
    for step, fields in solve(session.parameters, None):
        session.send(step, fields)
    session.close()


def stages(journal: Sequence[Entry]) -> list[tuple[float, float]]:
    """Of each job: seconds from its submission to its hello, and until its first sample has come."""
    found, submitted, hello = [], 0.0, 0.0
    for entry in journal:
        match entry.event:
            case ev.JobsSubmitted(handles=handles) if any(name.startswith("job-") for name in handles):
                submitted, hello = entry.at_s, 0.0
            case ev.Said(message=Hello()):
                hello = entry.at_s
            case ev.Said(message=Progress(deliveries=deliveries)) if submitted and hello and deliveries:
                found.append((hello - submitted, entry.at_s - submitted))
                submitted = 0.0
    return found


def between(journal: Sequence[Entry]) -> list[float]:
    """Of a persistent job: seconds from its request for a simulation to the first sample."""
    found, asked = [], 0.0
    for entry in journal:
        match entry.event:
            case ev.Said(message=Request()):
                asked = entry.at_s
            case ev.Said(message=Progress(deliveries=deliveries)) if asked and deliveries:
                found.append(entry.at_s - asked)
                asked = 0.0
    return found


def journal_of(start: Callable[..., Any], before: Sequence[str], *overrides: str) -> list[Entry]:
    """Of a study that has ended well."""
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [*before, sys.executable, "-m", "melissa_like.launcher", "run", f"run_dir={run_dir}"]
        with run_dir.with_suffix(".log").open("wb") as log:
            variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            with start([*command, *STUDY, *overrides], cwd=ROOT, env=variables, stdout=log, stderr=log) as process:
                read_report(run_dir, process.wait(DEADLINE_S))
        return list(read_journal(run_dir))


def bare(cluster: Cluster, *command: str) -> list[float]:
    """Seconds that the scheduler takes to start nothing at all and to see it end."""
    found = []
    for _ in range(NUM_SIMULATIONS):
        began = time.monotonic()
        cluster.login.run(*command, timeout_s=DEADLINE_S)
        found.append(time.monotonic() - began)
    return found


def main() -> None:
    """The table."""
    if reason := why_no_cluster():
        sys.exit(reason)
    with Cluster() as cluster:
        ways: dict[str, tuple[Callable[..., Any], Sequence[str], Sequence[str]]] = {
            "local": (subprocess.Popen, (), ("launcher=local", "solver.launch=''")),
            "slurm": (cluster.login.start, (), ("launcher=slurm", "solver.launch=''")),
            "slurm_steps": (cluster.login.start, ALLOCATION, ("launcher=slurm_steps",)),
        }
        rows = []
        for name, (start, before, overrides) in ways.items():
            jobs = stages(journal_of(start, before, "launcher.max_jobs=1", *ONE_EACH, *overrides))[1:]
            told = [shown(values) for values in zip(*jobs, strict=True)]
            again = between(journal_of(start, before, "launcher.max_jobs=1", *PERSISTENT, *overrides))[1:]
            cells = dict(zip(("hello", "first sample"), told, strict=True))
            rows.append(Row({"launcher": name, **cells, "persistent job": shown(again)}))
        print_rows("seconds from the submission of a simulation; from its request in a persistent job", rows)
        idle = {
            "sbatch --wait": bare(cluster, "sbatch", "--wait", "--output=/dev/null", "--wrap=true"),
            "srun": bare(cluster, *ALLOCATION, "srun", "--ntasks=1", "--nodes=1", "true"),
        }
        print_rows(
            "seconds of the scheduler alone",
            [Row({"command": name, "seconds": shown(values)}) for name, values in idle.items()],
        )


if __name__ == "__main__":
    main_of_one()
