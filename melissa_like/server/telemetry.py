"""What a server rank measures: written by the trainer's callbacks, read by the control thread.

Each value is a single reference, set by one thread and read by another, so no lock is needed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict

from melissa_like.assembly import Reason
from melissa_like.buffer import SampleBuffer
from melissa_like.errors import TrainingDivergedError
from melissa_like.loading import Loader, LoaderCounters
from melissa_like.protocol.control import Metrics
from melissa_like.protocol.reports import Summary, TrainingFigures, ValidationFigures
from melissa_like.server.reception import Reception
from melissa_like.training import StepReport, TrainingSummary, ValidationReport

__all__ = ["Telemetry", "summary_of"]


class Telemetry:
    """The present metrics of a rank, and the history of its validations.

    Args:
        received: bytes received so far.
    """

    def __init__(self, buffer: SampleBuffer, received: Callable[[], int]) -> None:
        self._buffer = buffer
        self._loader: Loader | None = None
        self._received = received
        self._step: StepReport | None = None
        self._looked_at = time.monotonic()
        self._samples_before = 0
        self.validations: tuple[ValidationFigures, ...] = ()

    def watch(self, loader: Loader) -> None:
        """Count this loader's batches from now on."""
        self._loader = loader

    def on_step(self, report: StepReport) -> None:
        """Keep the trainer's last word.

        Raises:
            TrainingDivergedError: its loss is not finite. One such batch spoils the weights for good, so a study that
                went on would complete with a surrogate that predicts nothing.
        """
        if report.num_samples and not math.isfinite(report.loss):
            raise TrainingDivergedError(
                f"the training loss is {report.loss} after {report.batch_index} training steps: either the solver "
                "sends values that are not finite (`melissa-like check` looks for them), or the training diverges "
                "(lower training.optimizer.lr, or set training.gradient_clip)"
            )
        self._step = report

    def on_validation(self, report: ValidationReport) -> None:
        """Keep every validation."""
        self.validations = (*self.validations, ValidationFigures(**asdict(report)))

    def measure(self) -> Metrics:
        """Present values; rates are over the time since the last call. Control thread only."""
        now = time.monotonic()
        population = self._buffer.population()
        counters = self._loader.counters() if self._loader is not None else LoaderCounters()
        step, validations = self._step, self.validations
        trained = step is not None and math.isfinite(step.loss)
        metrics = Metrics(
            seen=population.seen,
            unseen=population.unseen,
            samples_received=population.puts,
            bytes_received=self._received(),
            batches=counters.batches,
            samples_trained=counters.samples,
            samples_per_second=(counters.samples - self._samples_before) / max(now - self._looked_at, 1e-6),
            input_wait_seconds=counters.wait_s,
            training_loss=step.loss if step is not None and trained else None,
            learning_rate=step.learning_rate if step is not None and math.isfinite(step.learning_rate) else None,
            validation_loss=validations[-1].loss if validations else None,
            validation_relative_l2=validations[-1].relative_l2 if validations else None,
            more=dict(step.more) if step is not None else {},
        )
        self._looked_at, self._samples_before = now, counters.samples
        return metrics


def summary_of(
    training: TrainingSummary, counters: LoaderCounters, buffer: SampleBuffer, reception: Reception, seen: Telemetry
) -> Summary:
    """This rank's part of the report."""
    population, receiver = buffer.population(), reception.receiver
    return Summary(
        trained_on=population.puts - population.unseen,
        duplicates_dropped=reception.assembler.duplicates_dropped,
        refused={
            reason: count for reason, count in dict(receiver.refused).items() if reason != Reason.DUPLICATE_SAMPLE.value
        },
        training=TrainingFigures(
            batches=training.batches,
            samples=training.samples,
            seconds=training.seconds,
            samples_per_second=training.samples_per_second,
            input_wait_fraction=training.input_wait_fraction,
            startup_seconds=training.startup_seconds,
            final_training_loss=training.final_training_loss,
            collectives=counters.num_collectives,
            collective_seconds=counters.collective_s,
        ),
        validation=seen.validations[-1] if seen.validations else None,
        ingest_bytes=receiver.num_bytes,
        ingest_seconds=(receiver.last_at or 0.0) - (receiver.first_at or 0.0),
        trainer_waited_seconds=training.input_wait_fraction * training.seconds,
        solvers_waited_seconds=receiver.put_wait_seconds,
    )
