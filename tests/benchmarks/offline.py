"""Row 12: the laptop case online and offline on the same cores.

Online is a study as a user runs it. Offline, the same solver with the same parameters writes HDF5 (one file per
simulation, one chunk per time step, float32, uncompressed), as many processes at once as the study has jobs; then a
training reads it back in random order: files kept open, the better of 0 and 2 DataLoader workers, cold page cache where
the machine allows. Offline trains on two torch threads, for nothing else needs the cores then; online on one.

The second case is a production ten times slower than the training, as in the SC'23 paper: a paced solver, and the three
buffers at the same wall time. Figures are written to the folder given, `runs/benchmarks` by default.
"""

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from melissa_like.client.team import SerialCommunicator
from melissa_like.config import Config, layout_of
from melissa_like.launcher.run import prepare
from melissa_like.loading import Batch, Turn
from melissa_like.records import Purpose, SampleKey
from melissa_like.sampling import StudySamplers
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.solvers.heat2d import solve
from melissa_like.training import ValidationReport, ValidationSet, run_loop
from tests.benchmarks.measure import Row, print_rows
from tests.benchmarks.streams import STUDY_DEADLINE_S, composed, read_report, run
from tests.contract.consumers import assembled

LAPTOP = ("experiment=sc23_laptop", "training.validation_interval=500", "monitoring.figures=false")
#: Several passes over what was written, beside as many batches as online.
NUM_PASSES = 3
PROBE_BATCHES = 100
#: Samples per second of each of the two clients of the slow case, and of the training there about ten times as many.
PACE = 100.0
SLOW = (
    "solver.solve._target_=tests.benchmarks.offline.paced",
    f"+solver.solve.rate={PACE}",
    "sampling=monte_carlo",
    "solver.num_ranks=1",
    "study.num_simulations=50",
    "training.batch_size=10",
    "training.schedule=null",
    "training.optimizer.lr=1e-3",
    "training.validation_interval=200",
    "launcher.max_jobs=2",
    "monitoring.figures=false",
)
BUFFERS = {
    "fifo": ("buffer=fifo",),
    "firo": ("buffer=firo", "buffer.watermark=250"),
    "reservoir": ("buffer=reservoir", "buffer.capacity=1000", "buffer.watermark=250", "buffer.views_per_sample=null"),
}


@dataclass
class Curve:
    """Validation loss over wall time and over training steps, and what the table tells."""

    seconds: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    num_batches: int = 0
    samples_per_s: float = 0.0
    unique: int = 0
    bytes_written: int = 0
    wait_fraction: float = 0.0

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Curve":
        return cls(**json.loads(path.read_text()))

    def add(self, seconds: float, batches: int, loss: float) -> None:
        self.seconds.append(seconds)
        self.batches.append(batches)
        self.losses.append(loss)

    def at_batches(self, batches: int) -> tuple[float, float]:
        """Seconds and loss at the last validation up to so many training steps."""
        index = max(0, int(np.searchsorted(self.batches, batches, side="right")) - 1)
        return self.seconds[index], self.losses[index]


def paced(parameters: Mapping[str, float], comm: Any, *, rate: float, **options: Any) -> Iterator[Any]:
    """heat2d as slow as a larger solver would be."""
    due = time.monotonic()
    for item in solve(parameters, comm, **options):
        due += 1.0 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield item


# -- online -----------------------------------------------------------------------------------------------------------


def online(*overrides: str) -> tuple[Curve, dict[str, Any]]:
    """A study: its curve from the metrics it writes, with the time at which each validation was first seen."""
    curve = Curve()
    with TemporaryDirectory() as folder:
        run_dir, begun = Path(folder) / "run", time.time()
        report = read_report(run_dir, run(run_dir, *overrides).wait(STUDY_DEADLINE_S))
        seen_at = {}
        for line in (run_dir / "metrics-0.jsonl").read_text().splitlines():
            row = json.loads(line)
            if "validation_loss" in row:
                seen_at.setdefault(row["validation_loss"], row["time"] - begun)
        for told in report["validation"]["history"]:
            if told["loss"] in seen_at:  # two within one report of the metrics: the later one counts
                curve.add(seen_at[told["loss"]], told["batches"], told["loss"])
        curve.bytes_written = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    curve.num_batches = report["training"]["batches"]
    curve.samples_per_s = report["training"]["samples_per_second"]
    curve.wait_fraction = report["training"]["input_wait_fraction"]
    curve.unique = report["samples"]["trained_on"]
    return curve, report


# -- offline ----------------------------------------------------------------------------------------------------------


def write_simulation(folder: str, options: Mapping[str, Any], task: tuple[int, Mapping[str, float]]) -> None:
    """One simulation into a file of its own."""
    number, parameters = task
    with h5py.File(f"{folder}/{number:05d}.h5", "w") as file:
        shape = (options["num_steps"], options["grid_size"], options["grid_size"])
        steps = file.create_dataset("temperature", shape, "f4", chunks=(1, *shape[1:]))
        file.attrs["parameters"] = list(parameters.values())
        for step, fields, _ in solve(parameters, SerialCommunicator(), **options):
            steps[step] = fields["temperature"]


def write_all(folder: str, config: Config, samplers: StudySamplers) -> None:
    """All simulations, as many at once as the study has jobs."""
    options = {"grid_size": config.solver.solve["grid_size"], "num_steps": config.solver.num_steps}
    num_training, num_held_out = config.study.num_simulations, config.study.num_validation_simulations
    rows = samplers.next(Purpose.TRAINING, range(num_training))
    rows += samplers.next(Purpose.VALIDATION, range(num_training, num_training + num_held_out))
    names = tuple(config.solver.parameters)
    tasks = [(number, dict(zip(names, row, strict=True))) for number, row in enumerate(rows)]
    with multiprocessing.get_context("spawn").Pool(config.launcher.max_jobs) as pool:
        pool.map_async(partial(write_simulation, folder, options), tasks, chunksize=1).get(STUDY_DEADLINE_S)


class Files(Dataset[tuple[int, int, torch.Tensor, torch.Tensor]]):
    """Time steps of simulations on disk; each file is opened once per process."""

    def __init__(self, folder: str, simulations: range, num_steps: int) -> None:
        self._folder = folder
        self._simulations = simulations
        self._num_steps = num_steps
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._simulations) * self._num_steps

    def __getitem__(self, index: int) -> tuple[int, int, torch.Tensor, torch.Tensor]:
        position, step = divmod(index, self._num_steps)
        simulation = self._simulations[position]
        if simulation not in self._open:
            file = h5py.File(f"{self._folder}/{simulation:05d}.h5", "r")
            self._open[simulation] = (torch.from_numpy(file.attrs["parameters"]), file["temperature"])
        parameters, steps = self._open[simulation]
        return simulation, step, parameters, torch.from_numpy(steps[step])


def turns(loader: Any, num_batches: int, interval: int, num_samples: int) -> Iterator[Turn]:
    """What the trainer steps through: pass after pass."""
    done = 0
    while done < num_batches:
        for simulations, steps, parameters, fields in loader:
            batch = Batch(
                simulations=simulations,
                steps=steps,
                times=steps.double(),
                parameters=parameters,
                fields={"temperature": fields},
            )
            done += 1
            yield Turn(
                batch=batch,
                num_samples_global=batch.size,
                progress=min(1.0, done * batch.size / num_samples),
                validate=interval > 0 and done % interval == 0,
            )
            if done == num_batches:
                break


def train(
    folder: str, config: Config, *, num_workers: int, num_batches: int, begun: float, validate: bool = True
) -> Curve:
    """The study's trainer and network on what was written."""
    curve = Curve()
    layout, num_steps = layout_of(config.solver), config.solver.num_steps or 0
    training = range(config.study.num_simulations)
    files = Files(folder, training, num_steps)
    validation = ValidationSet(layout)
    if validate:
        held_out = range(len(training), len(training) + config.study.num_validation_simulations)
        for simulation, step, parameters, values in Files(folder, held_out, num_steps):
            key = SampleKey(simulation, step)
            validation.take(
                assembled(validation, key, [values.numpy()], time=step, parameters=parameters.tolist()), 0.0
            )
    loader = DataLoader(
        files,
        batch_size=config.training.batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )

    def on_validation(report: ValidationReport) -> None:
        curve.add(time.time() - begun, report.batches, report.loss)

    interval = config.training.validation_interval if validate else 0
    training = make_stream(
        config,
        turns(loader, num_batches, interval, len(files)),
        surrogate=make_surrogate(config, torch.device("cpu")),
        held_out=validation,
        on_validation=on_validation,
    )
    run_loop(make_loop(config), training)
    summary = training.summary()
    curve.samples_per_s, curve.wait_fraction = summary.samples_per_second, summary.input_wait_fraction
    curve.unique, curve.num_batches = min(len(files), summary.samples), summary.batches
    return curve


def forget_pages() -> bool:
    """Drop the page cache; False where the machine does not allow it."""
    subprocess.run(["sync"], check=True)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


# -- both cases -------------------------------------------------------------------------------------------------------


def laptop_online(figures: Path) -> None:
    """The laptop case, first half."""
    online(*LAPTOP)[0].save(figures / "laptop_online.json")


def laptop_offline(figures: Path) -> None:
    """The laptop case, second half, and its table; as many batches as the first half made, and several passes.

    Online runs once more afterwards: the machine's speed may have changed meanwhile.
    """
    ours = Curve.load(figures / "laptop_online.json")
    config, samplers = prepare(composed(*LAPTOP))
    torch.set_num_threads(2)
    keep_freed_memory()  # as a server rank does
    begun = time.time()
    with TemporaryDirectory() as folder:
        write_all(folder, config, samplers)
        produced_s = time.time() - begun
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
        probes = {}
        for workers in (0, 2):
            for cold in (True, False):
                allowed = forget_pages() if cold else True
                probe = train(
                    folder, config, num_workers=workers, num_batches=PROBE_BATCHES, begun=begun, validate=False
                )
                probes[workers, "cold" if cold and allowed else "warm"] = probe.samples_per_s
        best = max((rate, workers) for (workers, _), rate in probes.items())[1]
        num_batches = ours.num_batches
        most = max(num_batches, NUM_PASSES * config.study.num_simulations * 100 // config.training.batch_size)
        forget_pages()
        # The clock goes on where the production ended: probing is no part of it.
        theirs = train(folder, config, num_workers=best, num_batches=most, begun=time.time() - produced_s)
    theirs.bytes_written = written
    again, _ = online(*LAPTOP)
    draw(
        figures / "online_offline.png",
        {"online, reservoir": ours, "offline, HDF5": theirs, "online, afterwards": again},
    )
    columns = []
    for name, curve, batches in (
        ("online, reservoir", ours, num_batches),
        ("offline, as many batches", theirs, num_batches),
        (f"offline, {NUM_PASSES} passes", theirs, most),
        ("online, afterwards", again, again.num_batches),
    ):
        seconds, loss = curve.at_batches(batches)
        columns.append(
            Row(
                {
                    "case": name,
                    "seconds to there": f"{seconds:.0f}",
                    "batches": str(batches),
                    "samples/s": f"{curve.samples_per_s:.0f}",
                    "input wait %": f"{100 * curve.wait_fraction:.1f}",
                    "validation loss": f"{loss:.4g}",
                    "unique samples": str(min(curve.unique, 10 * batches)),
                    "MB written": f"{curve.bytes_written / 1e6:.1f}",
                }
            )
        )
    rates = ", ".join(f"{workers} workers {how} {rate:.0f}/s" for (workers, how), rate in probes.items())
    print_rows(f"laptop case; offline wrote for {produced_s:.0f} s; read and trained: {rates}", columns)


def slow_production(figures: Path) -> None:
    """Production ten times slower than training: three buffers at the same wall time."""
    results = {name: online(*SLOW, *overrides) for name, overrides in BUFFERS.items()}
    draw(figures / "slow_production.png", {name: curve for name, (curve, _) in results.items()})
    until = min(report["seconds"] for _, report in results.values())
    rows = []
    for name, (curve, report) in results.items():
        reached = [loss for second, loss in zip(curve.seconds, curve.losses, strict=True) if second <= until]
        rows.append(
            Row(
                {
                    "buffer": name,
                    "samples/s": f"{curve.samples_per_s:.0f}",
                    "input wait %": f"{100 * curve.wait_fraction:.1f}",
                    "batches": str(report["training"]["batches"]),
                    "unique samples": str(curve.unique),
                    f"validation loss after {until:.0f} s": f"{reached[-1]:.4g}" if reached else "–",
                    "at the end": f"{report['validation']['loss']:.4g}",
                    "seconds": f"{report['seconds']:.0f}",
                }
            )
        )
    print_rows(f"2 clients of {PACE:g} samples/s each, 32 x 32 cells, batch 10", rows)


def draw(path: Path, curves: Mapping[str, Curve]) -> None:
    """Validation loss over wall time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.semilogy(curve.seconds, curve.losses, ".-", label=name)
    axes.set(xlabel="wall time (s), production included", ylabel="validation loss (K²)")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=80)


def main(*parts: str, figures: Path = Path("runs/benchmarks")) -> None:
    """Both tables, or the parts named: `python -m tests.benchmarks.offline FOLDER [online] [offline] [slow]`."""
    for name, part in (("online", laptop_online), ("offline", laptop_offline), ("slow", slow_production)):
        if not parts or name in parts:
            part(figures)


if __name__ == "__main__":
    main(*sys.argv[2:], figures=Path(sys.argv[1]))
