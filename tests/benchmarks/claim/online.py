"""An online arm: a study as a user runs it, and its surrogate measured like that of an offline arm."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from melissa_like.launcher.run import prepare
from melissa_like.records import Purpose
from melissa_like.training import load_surrogate
from tests.benchmarks.claim.errors import errors_of
from tests.benchmarks.claim.offline import Truth
from tests.benchmarks.claim.results import Curve, Result
from tests.benchmarks.claim.runs import Run
from tests.benchmarks.streams import composed, read_report, run

__all__ = ["run_online"]

#: Four minutes are meant; a busy machine may take longer.
_DEADLINE_S = 3600.0


def run_online(asked: Run) -> Result:
    """Run the study, then measure what it has trained."""
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        run_dir, begun = Path(folder) / "run", time.time()
        report = read_report(run_dir, run(run_dir, *asked.settings).wait(_DEADLINE_S))
        seconds = time.time() - begun
        bytes_written = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
        curve = _curve(run_dir, report, begun)
        config, samplers = prepare(composed(*asked.settings))
        truth = Truth(Path(folder), config, samplers, config.study.num_validation_simulations)
        truth.write(Purpose.VALIDATION)
        truth.write(Purpose.TRAINING)
        surrogate = load_surrogate(run_dir / "surrogate")
        return Result(
            arm=asked.arm,
            seed=asked.seed,
            num_simulations=asked.num_simulations,
            num_batches=report["training"]["batches"],
            held_out=errors_of(config, surrogate, truth.validation_set(truth.held_out)),
            training=errors_of(config, surrogate, truth.validation_set(truth.training)),
            curve=curve,
            production_s=0.0,
            seconds=seconds,
            bytes_written=bytes_written,
            input_wait=report["training"]["input_wait_fraction"],
            load=(load, os.getloadavg()[0]),
            date=datetime.now(UTC).isoformat(timespec="minutes"),
        )


def _curve(run_dir: Path, report: dict[str, Any], begun: float) -> Curve:
    """The validations at the times when the metrics first showed them."""
    seen_at: dict[float, float] = {}
    for line in (run_dir / "metrics-0.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "validation_loss" in row:
            seen_at.setdefault(row["validation_loss"], row["time"] - begun)
    curve = Curve()
    for told in report["validation"]["history"]:
        if told["loss"] in seen_at:  # of two within one report of the metrics the later one is shown
            curve.add(seen_at[told["loss"]], told["loss"])
    return curve
