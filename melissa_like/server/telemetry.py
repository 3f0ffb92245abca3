"""What a server rank measures: written by the trainer's callbacks, read by the control thread.

Each value is a single reference, set by one thread and read by another, so no lock is needed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict

from melissa_like.buffer import SampleBuffer
from melissa_like.errors import TrainingDivergedError
from melissa_like.loading import Loader, LoaderCounters
from melissa_like.training import StepReport, ValidationReport

__all__ = ["Telemetry"]


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
        self.validations: tuple[ValidationReport, ...] = ()

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
        self.validations = (*self.validations, report)

    def history(self) -> tuple[dict[str, float], ...]:
        """All validations, oldest first."""
        return tuple(asdict(report) for report in self.validations)

    def measure(self) -> dict[str, float]:
        """Present values by name; rates are over the time since the last call. Control thread only."""
        now = time.monotonic()
        population = self._buffer.population()
        counters = self._loader.counters() if self._loader is not None else LoaderCounters()
        values: dict[str, float] = {
            "seen": population.seen,
            "unseen": population.unseen,
            "samples_received": population.puts,
            "bytes_received": self._received(),
            "batches": counters.batches,
            "samples_trained": counters.samples,
            "samples_per_second": (counters.samples - self._samples_before) / max(now - self._looked_at, 1e-6),
            "input_wait_seconds": counters.wait_s,
        }
        self._looked_at, self._samples_before = now, counters.samples
        step, validations = self._step, self.validations
        if step is not None and math.isfinite(step.loss):
            values["training_loss"] = step.loss
            values["learning_rate"] = step.learning_rate
        if validations:
            values["validation_loss"] = validations[-1].loss
            values["validation_relative_l2"] = validations[-1].relative_l2
        return values
