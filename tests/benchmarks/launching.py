"""Rows 8 and 11: what launching costs: per simulation, and from the command to the first message and the first draw."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from melissa_like.client import connect
from melissa_like.protocol.control import Goodbye, Hello
from melissa_like.study import read_journal
from melissa_like.study.events import Said
from tests.benchmarks.measure import Row, print_rows, shown
from tests.benchmarks.streams import STUDY_DEADLINE_S, read_report, run

ROUNDS = 3
WORK_S = 0.01
WATERMARK = 100
STUDY = (
    "solver=empty",
    "solver.name=launching",
    "+solver.fields.u={shape:[8,8],bounds:[-1,1]}",
    "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:-1,high:1}",
    "study.num_validation_simulations=0",
    "buffer.capacity=1000",
    f"buffer.watermark={WATERMARK}",
    "buffer.views_per_sample=null",
    "training.batch_size=16",
    "training.max_batches=null",
    "model.hidden=[16]",
    "monitoring.figures=false",
    "monitoring.interval_s=0.02",
)
PLUGIN = ("+solver.solve._target_=tests.benchmarks.launching.solve",)
PROGRAM = ("solver.command=[python,-m,tests.benchmarks.launching,once]",)
ONE_RANK = ("solver.num_ranks=1", "solver.launch=''")
TWO_RANKS = ("solver.num_ranks=2",)


def work(value: float, rows: int = 8) -> np.ndarray:
    """Ten milliseconds of the processor."""
    until = time.perf_counter() + WORK_S
    while time.perf_counter() < until:
        continue
    return np.full((rows, 8), value)


def solve(
    parameters: Mapping[str, float], comm: Any, *, num_steps: int = 1
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Ten milliseconds per step."""
    for step in range(num_steps):
        yield step, {"u": work(parameters["a"], 8 // comm.size)}


def once() -> None:
    """The same as a program: a process per simulation."""
    session = connect()
    session.send(0, {"u": work(session.parameters["a"])})
    session.close()


def finished(*overrides: str) -> tuple[float, list[tuple[float, Any]], list[dict[str, float]]]:
    """When the command was given, the journal and the metrics of a study."""
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        given_at = time.time()
        code = run(run_dir, *STUDY, *overrides).wait(STUDY_DEADLINE_S)
        read_report(run_dir, code)
        metrics = [json.loads(line) for line in (run_dir / "metrics-0.jsonl").read_text().splitlines()]
        said = [(entry.at_s, entry.event.message) for entry in read_journal(run_dir) if isinstance(entry.event, Said)]
        return given_at, said, metrics


def overhead_ms(num_simulations: int, *overrides: str) -> float:
    """Time between two goodbyes less the work, over all simulations of a job after another."""
    _, journal, _ = finished(f"study.num_simulations={num_simulations}", "solver.num_steps=1", *overrides)
    sent = [at for at, message in journal if isinstance(message, Goodbye)]
    return 1000 * ((sent[-1] - sent[0]) / (len(sent) - 1) - WORK_S)


def per_simulation() -> None:
    """Row 8."""
    small = ("buffer.watermark=10", "buffer.capacity=100")
    cases = {
        "persistent job, one rank": lambda: overhead_ms(200, *PLUGIN, *ONE_RANK, *small),
        "persistent job, two ranks (mpiexec)": lambda: overhead_ms(200, *PLUGIN, *TWO_RANKS, *small),
        "one process per simulation": lambda: overhead_ms(20, *PROGRAM, *ONE_RANK, *small),
    }
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _, (name, case) in itertools.product(range(ROUNDS), cases.items()):
        measured[name].append(case())
    print_rows(
        f"overhead per simulation of {1000 * WORK_S:.0f} ms",
        [
            Row({"case": name, "ms per simulation": shown(values), "target": "10" if "job" in name else "–"})
            for name, values in measured.items()
        ],
    )


def first_of(metrics: list[dict[str, float]], name: str, least: float) -> float:
    """Time of day of the first row in which a metric has reached a value."""
    return next(row["time"] for row in metrics if row.get(name, 0.0) >= least)


def start_up() -> None:
    """Row 11."""
    found: dict[str, list[float]] = {"import torch": [], "to the first hello": [], "to the first draw": []}
    for _ in range(ROUNDS):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True, timeout=STUDY_DEADLINE_S)
        found["import torch"].append(time.monotonic() - started)
        given_at, journal, metrics = finished(
            "study.num_simulations=40", "solver.num_steps=10", "+solver.solve.num_steps=10", *PLUGIN, *TWO_RANKS
        )
        hello = next(at for at, message in journal if isinstance(message, Hello))
        found["to the first hello"].append(hello - given_at)
        drawn, full = first_of(metrics, "batches", 1), first_of(metrics, "samples_received", WATERMARK)
        found["to the first draw"].append(drawn - full)
    limit = median(found["import torch"])
    print_rows(
        "from the command to the first message of a solver; from the watermark to the first draw (to 0.02 s)",
        [
            Row({"what": "python -c 'import torch'", "seconds": shown(found["import torch"]), "target": "–"}),
            Row(
                {
                    "what": "command to hello",
                    "seconds": shown(found["to the first hello"]),
                    "target": f"{limit + 3:.1f} (import + 3)",
                }
            ),
            Row({"what": "watermark to first draw", "seconds": shown(found["to the first draw"]), "target": "0.2"}),
        ],
    )


def main() -> None:
    """Both tables."""
    per_simulation()
    start_up()


if __name__ == "__main__":
    once()
