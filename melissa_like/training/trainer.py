"""The trainer: the loop, and nothing that the loop does not need."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from melissa_like.loading import Collective, SoloCollective, Turn
from melissa_like.training.losses import Loss, mse
from melissa_like.training.meters import InputClock, LossMeter
from melissa_like.training.reports import StepReport, TrainingSummary, ValidationReport
from melissa_like.training.schedules import Constant, LearningRateFactory, on_samples
from melissa_like.training.step import Optimization, TrainingStep
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.validation import ValidationSet

__all__ = ["OptimizerFactory", "Trainer", "adam"]

OptimizerFactory: TypeAlias = Callable[[Iterator[nn.Parameter]], Optimizer]

_CONSTANT_RATE = on_samples(Constant())
_PLAIN = Optimization()
_SOLO = SoloCollective()


def adam(parameters: Iterator[nn.Parameter]) -> Optimizer:
    """The optimizer of the SC'23 study: Adam, learning rate 1e-3, weight decay 1e-4."""
    return Adam(parameters, lr=1e-3, weight_decay=1e-4)


class Trainer:
    """Trains a surrogate on the turns of one rank. Everything runs on the thread that calls `train`.

    Args:
        surrogate: on the device of the batches.
        loss: one value per sample; applied in normalized units for training, in original units for validation.
        optimizer: called with the network's parameters.
        learning_rate: called with the optimizer.
        optimization: precision, compilation, clipping.
        validation: held-out samples; None: no validation.
        collective: joins the trainers' threads of all ranks; with more than one, the default process group must be up.
        on_step: told every `report_interval` training steps, and after the last.
        on_validation: told after each validation.
        report_interval: training steps; reading the loss waits for the device.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        *,
        loss: Loss = mse,
        optimizer: OptimizerFactory = adam,
        learning_rate: LearningRateFactory = _CONSTANT_RATE,
        optimization: Optimization = _PLAIN,
        validation: ValidationSet | None = None,
        collective: Collective = _SOLO,
        on_step: Callable[[StepReport], None] = lambda report: None,
        on_validation: Callable[[ValidationReport], None] = lambda report: None,
        report_interval: int = 20,
    ) -> None:
        self._surrogate = surrogate.train()
        self._loss = loss
        self._optimizer = optimizer(surrogate.network.parameters())
        self._learning_rate = learning_rate(self._optimizer)
        self._step = TrainingStep(
            surrogate, loss, self._optimizer, num_ranks=collective.size, optimization=optimization
        )
        self._validation = validation
        self._collective = collective
        self._on_step = on_step
        self._on_validation = on_validation
        self._report_interval = report_interval
        self._meter = LossMeter(surrogate.device)
        self._batches = 0
        self._samples = 0
        self._normalization_frozen = False

    def train(self, turns: Iterable[Turn]) -> TrainingSummary:
        """Take one training step per turn, until they end; validate where a turn says so, and at the end.

        All ranks must be given the same number of turns. Blocks in the turns and in the collectives of each step, as
        long as those let it. What the turns, the callbacks or the collectives raise is raised.

        Raises:
            ValueError: a field without bounds came without statistics, or a hook returned wrong shapes.
            TypeError: the loss did not return a tensor.
        """
        clock, samples_before, validated = InputClock(), self._samples, True
        for turn in clock.measure(turns):
            self._freeze_normalization(turn)
            self._learning_rate.before_step(turn.progress, self._batches)
            self._count(turn, self._step(turn))
            self._learning_rate.after_step()
            if self._batches % self._report_interval == 0:
                self._report()
            validated = turn.validate
            if turn.validate:
                self._validate()
        if self._batches % self._report_interval:
            self._report()
        if not validated:
            self._validate()
        return self._summary(clock, self._samples - samples_before)

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs, taken between two turns: surrogate, optimizer, learning rate, counters."""
        return {
            "surrogate": self._surrogate.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "learning_rate": self._learning_rate.state_dict(),
            "batches": self._batches,
            "samples": self._samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._surrogate.load_state_dict(state["surrogate"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learning_rate.load_state_dict(state["learning_rate"])
        self._batches = state["batches"]
        self._samples = state["samples"]

    def _freeze_normalization(self, turn: Turn) -> None:
        if not self._normalization_frozen:
            self._surrogate.output_normalization.freeze(turn.statistics)
            self._normalization_frozen = True

    def _count(self, turn: Turn, summed_loss: Tensor) -> None:
        num_samples = 0 if turn.batch is None else turn.batch.size
        self._meter.add(summed_loss, num_samples)
        self._batches += 1
        self._samples += num_samples

    def _report(self) -> None:
        report = StepReport(
            batch_index=self._batches,
            loss=self._meter.read(),
            learning_rate=self._optimizer.param_groups[0]["lr"],
            num_samples=self._samples,
        )
        self._on_step(report)

    def _validate(self) -> None:
        if self._validation is None:
            return
        report = self._validation.evaluate(self._surrogate, self._loss, self._collective, batches=self._batches)
        if report is not None:
            self._on_validation(report)

    def _summary(self, clock: InputClock, num_samples: int) -> TrainingSummary:
        seconds, loss = clock.elapsed_s, self._meter.read()
        return TrainingSummary(
            batches=self._batches,
            samples=self._samples,
            seconds=seconds,
            samples_per_second=num_samples / seconds if seconds else 0.0,
            input_wait_fraction=clock.wait_s / seconds if seconds else 0.0,
            final_training_loss=None if math.isnan(loss) else loss,
            startup_seconds=clock.startup_s,
        )
