"""An offline arm: simulations are written, then the study's trainer and network learn from the files.

Everything is the study's own: task, network, loss, optimizer, schedule, loop. Only the turns come from a DataLoader.
"""

import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader

from melissa_like.config import Config, layout_of
from melissa_like.launcher.run import prepare
from melissa_like.loading import Batch, Turn, moments_of
from melissa_like.records import Purpose, Window
from melissa_like.sampling import StudySamplers
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate, window_of
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.training import Surrogate, ValidationReport, ValidationSet, run_loop
from tests.benchmarks.claim.errors import errors_of, validation_set
from tests.benchmarks.claim.results import Curve, Result
from tests.benchmarks.claim.runs import Run
from tests.benchmarks.claim.simulations import Samples, Shuffled, write_all
from tests.benchmarks.streams import composed

__all__ = ["Truth", "run_offline", "turns_of"]

#: As the loader of a server rank takes for the statistics of a normalization.
_STATISTICS_SAMPLES = 256


class Truth:
    """Simulations of a study, written for the sake of measuring: held-out ones, and some to train on.

    Args:
        folder: of their files; they are numbered like those of the study.
        config: of the study.
        samplers: of the study, of which nothing was drawn yet.
        num_training: the first simulations to train on.
    """

    def __init__(self, folder: Path, config: Config, samplers: StudySamplers, num_training: int) -> None:
        self._folder = folder
        self._config = config
        first = config.study.num_simulations
        self.training = range(num_training)
        self.held_out = range(first, first + config.study.num_validation_simulations)
        self.rows = {
            Purpose.TRAINING: dict(zip(self.training, samplers.next(Purpose.TRAINING, self.training), strict=True)),
            Purpose.VALIDATION: dict(zip(self.held_out, samplers.next(Purpose.VALIDATION, self.held_out), strict=True)),
        }

    def write(self, purpose: Purpose) -> int:
        """Run and write them; the bytes."""
        return write_all(self._folder, self._config, self.rows[purpose])

    def validation_set(self, simulations: range) -> ValidationSet:
        """Some of them in memory."""
        return validation_set(self._config, self.samples(simulations, None))

    def samples(self, simulations: range, window: Window | None) -> Samples:
        """Samples of some of them."""
        config = self._config
        return Samples(self._folder, layout_of(config.solver), simulations, config.solver.num_steps or 0, window)


def run_offline(run: Run) -> Result:
    """Write, train, measure; the better part of `seconds` is the training."""
    config, samplers = prepare(composed(*run.settings))
    keep_freed_memory()  # as a server rank does
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        truth = Truth(Path(folder), config, samplers, run.num_simulations)
        truth.write(Purpose.VALIDATION)  # no arm pays for it
        begun = time.monotonic()
        bytes_written = truth.write(Purpose.TRAINING)
        production_s = time.monotonic() - begun
        device = torch.device("cuda" if config.training.device == "cuda" else "cpu")
        surrogate = make_surrogate(config, device)
        curve = Curve()
        held_out = truth.validation_set(truth.held_out)
        input_wait, num_batches = _train(config, surrogate, truth, held_out, curve, begun)
        seconds = time.monotonic() - begun
        return Result(
            arm=run.arm,
            seed=run.seed,
            num_simulations=run.num_simulations,
            num_batches=num_batches,
            held_out=errors_of(config, surrogate, held_out),
            training=errors_of(config, surrogate, truth.validation_set(truth.training[: len(truth.held_out)])),
            curve=curve,
            production_s=production_s,
            seconds=seconds,
            bytes_written=bytes_written,
            input_wait=input_wait,
            load=(load, os.getloadavg()[0]),
            date=datetime.now(UTC).isoformat(timespec="minutes"),
        )


def _train(
    config: Config, surrogate: Surrogate, truth: Truth, held_out: ValidationSet, curve: Curve, begun: float
) -> tuple[float, int]:
    """The share of the training that waited for batches, and the training steps."""
    samples = truth.samples(truth.training, window_of(config))
    num_batches = config.training.max_batches
    assert num_batches is not None
    shuffled = Shuffled(
        len(samples), batch_size=config.training.batch_size, num_batches=num_batches, seed=config.study.seed
    )
    loader = DataLoader(samples, batch_sampler=shuffled, collate_fn=_as_is)

    def on_validation(report: ValidationReport) -> None:
        curve.add(time.monotonic() - begun, report.loss)

    some = next(iter(Shuffled(len(samples), batch_size=min(_STATISTICS_SAMPLES, len(samples)), num_batches=1, seed=0)))
    interval, measured = config.training.validation_interval, samples.__getitems__(some)
    stream = make_stream(
        config,
        turns_of(loader, surrogate, measured, num_batches=num_batches, interval=interval),
        surrogate=surrogate,
        held_out=held_out,
        on_validation=on_validation,
    )
    run_loop(make_loop(config), stream)
    summary = stream.summary()
    return summary.input_wait_fraction, summary.batches


def _as_is(batch: Batch) -> Batch:
    return batch


def turns_of(
    batches: Iterable[Batch], surrogate: Surrogate, measured: Batch, *, num_batches: int, interval: int = 0
) -> Iterator[Turn]:
    """What a training loop steps through, as in a study.

    Args:
        batches: so many, one for each training step.
        surrogate: to be trained.
        measured: samples from which the statistics of the normalization are taken; the first turn brings them.
        num_batches: training steps.
        interval: of these between two validations; 0: none.
    """
    quantities = surrogate.task.measure(measured)
    statistics = {name: moments_of(values) for name, values in quantities.items()}
    for done, batch in enumerate(batches, start=1):
        yield Turn(
            batch=batch.to(surrogate.device),
            num_samples_global=batch.size,
            progress=done / num_batches,
            validate=interval > 0 and done % interval == 0,
            statistics=statistics if done == 1 else None,
        )
