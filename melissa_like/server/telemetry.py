"""What a server rank measures: written by the trainer's callbacks, read by the control thread.

Each value is a single reference, set by one thread and read by another, so no lock is needed.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from torch import Tensor

from melissa_like.assembly import Reason
from melissa_like.buffer import SampleBuffer
from melissa_like.errors import TrainingDivergedError
from melissa_like.loading import Loader, LoaderCounters, Turn
from melissa_like.protocol.control import Metrics
from melissa_like.protocol.reports import Summary, TrainingFigures, ValidationFigures
from melissa_like.server.reception import Reception
from melissa_like.server.validations import figures_of, metrics_of
from melissa_like.training import StepReport, TrainingSummary, ValidationReport

__all__ = ["Telemetry", "summary_of"]

#: Batches whose simulations are known when a loss is not finite: those of one report, which our loop makes of 20.
_RECENT_BATCHES = 32
_MOST_NAMED = 20
#: Refusals that are no fault and no loss: what came was right, and not needed any more.
_SENT_RIGHTLY = frozenset({Reason.DUPLICATE_SAMPLE.value, Reason.NOT_NEEDED.value})


class Telemetry:
    """The present metrics of a rank, and the history of its validations.

    Args:
        received: bytes received so far.
        advice: what to do about a loss that is not finite.
    """

    def __init__(self, buffer: SampleBuffer, received: Callable[[], int], *, advice: str) -> None:
        self._buffer = buffer
        self._loader: Loader | None = None
        self._received = received
        self._advice = advice
        self._recent: deque[Tensor] = deque(maxlen=_RECENT_BATCHES)
        self._step: StepReport | None = None
        self._looked_at = time.monotonic()
        self._samples_before = 0
        self.validations: tuple[ValidationFigures, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """The validations, for a restart."""
        return {"validations": msgspec.to_builtins([*self.validations])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from it."""
        self.validations = msgspec.convert(state["validations"], tuple[ValidationFigures, ...])

    def watch(self, loader: Loader) -> None:
        """Count this loader's batches from now on."""
        self._loader = loader
        self._samples_before = loader.counters().samples

    def passing(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """The same turns; which simulations their batches held is known until the next report."""
        for turn in turns:
            if turn.batch is not None:
                self._recent.append(turn.batch.simulations.clone())
            yield turn

    def on_step(self, report: StepReport) -> None:
        """Keep the trainer's last word.

        Raises:
            TrainingDivergedError: its loss is not finite. One such batch spoils the weights for good, so a study that
                went on would complete with a surrogate that predicts nothing.
        """
        # Without a batch since the last report, as after a restart that has nothing to train, there is no loss to tell.
        if self._recent and not math.isfinite(report.loss):
            raise TrainingDivergedError(self._divergence(report))
        self._step = report
        self._recent.clear()

    def _divergence(self, report: StepReport) -> str:
        """When it was noticed, since when it may be, at which learning rate and on what."""
        before, rate = self._step, report.learning_rate
        since = "" if before is None else f" (it was {before.loss:.4g} at training step {before.batch_index})"
        simulations = sorted({number for batch in self._recent for number in batch.tolist()})
        named = ", ".join(map(str, simulations[:_MOST_NAMED])) + (" ..." if len(simulations) > _MOST_NAMED else "")
        return (
            f"the training has diverged: its loss is {report.loss} at training step {report.batch_index}{since}, with "
            f"{'an unknown learning rate' if math.isnan(rate) else f'the learning rate {rate:.4g}'}; the batches since "
            f"then held samples of the simulations {named}: {self._advice}"
        )

    def on_validation(self, report: ValidationReport) -> None:
        """Keep every validation; of the earlier ones not each step of their roll-outs."""
        self.validations = (*(figures.in_short for figures in self.validations), figures_of(report))

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
            buffer_bytes=population.nbytes if population.capacity_nbytes else None,
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
            more=(metrics_of(validations[-1]) if validations else {}) | (dict(step.more) if step is not None else {}),
        )
        self._looked_at, self._samples_before = now, counters.samples
        return metrics


def summary_of(
    training: TrainingSummary | None,
    counters: LoaderCounters,
    buffer: SampleBuffer,
    reception: Reception,
    seen: Telemetry,
) -> Summary:
    """This rank's part of the report; the training is None before there was one."""
    population, receiver = buffer.population(), reception.receiver
    return Summary(
        trained_on=population.puts - population.unseen,
        duplicates_dropped=reception.assembler.duplicates_dropped,
        refused={r: count for r, count in receiver.refusals().items() if r not in _SENT_RIGHTLY},
        training=None if training is None or not training.batches else _figures_of(training, counters),
        validation=seen.validations[-1] if seen.validations else None,
        ingest_bytes=receiver.num_bytes,
        ingest_seconds=(receiver.last_at or 0.0) - (receiver.first_at or 0.0),
        trainer_waited_seconds=0.0 if training is None else training.input_wait_fraction * training.seconds,
        solvers_waited_seconds=receiver.put_wait_seconds,
    )


def _figures_of(training: TrainingSummary, counters: LoaderCounters) -> TrainingFigures:
    return TrainingFigures(
        batches=training.batches,
        samples=training.samples,
        seconds=training.seconds,
        samples_per_second=training.samples_per_second,
        input_wait_fraction=training.input_wait_fraction,
        startup_seconds=training.startup_seconds,
        final_training_loss=_finite(training.final_training_loss),
        collectives=counters.num_collectives,
        collective_seconds=counters.collective_s,
    )


def _finite(value: float | None) -> float | None:
    """JSON has no other numbers."""
    return value if value is not None and math.isfinite(value) else None
