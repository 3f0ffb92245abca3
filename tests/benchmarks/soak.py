"""Row 10: a million samples through a reservoir of a thousand; is the memory of every process flat?

A real study: launcher, two solver jobs, one server rank with everything on that a user has on (TensorBoard, metrics).
Samples are small, so that it takes minutes. The resident memory of every process is read once a second; the table shows
it when a share of the samples was delivered, and its growth over the second half.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.benchmarks.measure import Row, print_rows
from tests.benchmarks.streams import STUDY_DEADLINE_S, read_report, run

NUM_STEPS = 1000
SHAPE = (8, 8)
CAPACITY = 1000
BATCH_SIZE = 256
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
ROLES = {"melissa_like.server": "server", "melissa_like.client": "client", "melissa_like.launcher": "launcher"}


def solve(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """A thousand steps that cost nothing to compute."""
    values = np.full(SHAPE, parameters["a"])
    for step in range(NUM_STEPS):
        yield step, {"u": values}


def resident_mib(root: int) -> dict[str, float]:
    """Resident memory by role, of a process and all below it; the largest of several of a role."""
    parents, found = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)
            parents[int(entry.name)] = int(status["PPid"])
            role = next((role for module, role in ROLES.items() if module in words), None)
            if role is not None and words[0].rpartition("/")[2].startswith("python"):
                found[int(entry.name)] = (role, int(status["VmRSS"].split()[0]) / 1024)
        except (OSError, KeyError):  # it has just ended
            continue
    largest: dict[str, float] = {}
    for pid, (role, size) in found.items():
        ancestor = pid
        while ancestor not in (root, 0, 1):
            ancestor = parents.get(ancestor, 0)
        if ancestor == root:
            largest[role] = max(largest.get(role, 0.0), size)
    return largest


def watch(num_simulations: int) -> tuple[list[tuple[float, dict[str, float]]], dict[str, Any], dict[str, int]]:
    """Memory over the share of the samples delivered; the report; sizes of the files that grow."""
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        launcher = run(
            run_dir,
            "solver=empty",
            "solver.name=soak",
            "+solver.solve._target_=tests.benchmarks.soak.solve",
            f"+solver.fields.u={{shape:[{SHAPE[0]},{SHAPE[1]}],bounds:[-1,1]}}",
            "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:-1,high:1}",
            "solver.num_ranks=1",
            f"solver.num_steps={NUM_STEPS}",
            f"study.num_simulations={num_simulations}",
            "study.num_validation_simulations=1",
            f"buffer.capacity={CAPACITY}",
            "buffer.views_per_sample=null",
            f"training.batch_size={BATCH_SIZE}",
            "model.hidden=[16]",
            "launcher.max_jobs=2",
        )
        seen: list[tuple[float, dict[str, float]]] = []
        deadline = time.monotonic() + STUDY_DEADLINE_S
        try:
            while launcher.poll() is None and time.monotonic() < deadline:
                time.sleep(1.0)
                status = run_dir / "status.json"
                if status.exists():
                    told = json.loads(status.read_text())
                    seen.append((told["samples_delivered"] / told["samples_expected"], resident_mib(launcher.pid)))
            ended = launcher.poll()
        finally:
            launcher.terminate()  # in order, with a report of what was done: where there is no time for all of it
            launcher.wait(60.0)
        report = read_report(run_dir, ended or 0)
        grown = {path.name: path.stat().st_size for path in run_dir.rglob("*") if path.is_file()}
    return seen, report, grown


def main() -> None:
    """The table; `python -m tests.benchmarks.soak N` for N thousand samples."""
    num_simulations = int(sys.argv[1]) if sys.argv[0].endswith("soak.py") and len(sys.argv) > 1 else 1000
    seen, report, grown = watch(num_simulations)
    storage = (CAPACITY + 6 + 3 * BATCH_SIZE) * 4 * SHAPE[0] * SHAPE[1] / 2**20
    limits = {"server": f"{storage:.1f} + 400 MiB", "client": "flat", "launcher": "–"}
    rows = []
    for role, limit in limits.items():
        curve = [(share, sizes[role]) for share, sizes in seen if role in sizes]
        at = {share: next((mib for reached, mib in curve if reached >= share), curve[-1][1]) for share in SHARES}
        rows.append(
            Row(
                {
                    "process": role,
                    **{f"MiB at {share:.0%}": f"{mib:.1f}" for share, mib in at.items()},
                    "largest MiB": f"{max(mib for _, mib in curve):.1f}",
                    "growth 50 to 100 %": f"{at[1.0] - at[0.5]:+.1f} MiB",
                    "target": limit,
                }
            )
        )
    samples, seconds = report["samples"], report["ingest"]["seconds"]
    title = (
        f"{samples['delivered']} samples, {samples['lost']} lost, through {CAPACITY} places in {seconds:.0f} s; "
        f"journal {grown['journal.jsonl'] / 2**20:.1f} MiB, metrics {grown['metrics-0.jsonl'] / 2**20:.2f} MiB on disk"
    )
    print_rows(title, rows)


if __name__ == "__main__":
    main()
