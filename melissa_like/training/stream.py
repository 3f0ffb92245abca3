"""`TrainingStream`: what a training loop is given. Whatever must happen around training steps hangs on its turns."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch, Turn
from melissa_like.training.distributed import RankGroup, joined
from melissa_like.training.losses import FieldLosses, Loss, mse
from melissa_like.training.meters import InputClock
from melissa_like.training.objective import Objective
from melissa_like.training.reports import StepReport, TrainingSummary, ValidationReport
from melissa_like.training.schedules import Constant, LearningRateFactory, on_samples
from melissa_like.training.single_values import let_single_values_pass
from melissa_like.training.step import Optimization
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.validation import ValidationSet

__all__ = ["OptimizerFactory", "Stateful", "TrainingRecipe", "TrainingStream", "adam"]

OptimizerFactory: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]

_SURROGATE = "surrogate"
_CONSTANT_RATE = on_samples(Constant())
_PLAIN = Optimization()


def adam(parameters: list[nn.Parameter]) -> Optimizer:
    """The optimizer of the SC'23 study: Adam, learning rate 1e-3, weight decay 1e-4."""
    return Adam(parameters, lr=1e-3, weight_decay=1e-4)


class Stateful(Protocol):
    """Whatever a restart brings back: an optimizer, a module, a learning rate."""

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs; `torch.load` must read it with `weights_only`."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Go on from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How to train, as configured; a loop takes from it what it wants.

    Attributes:
        loss: of one field; in normalized units for training, in original units for validation.
        field_weights: of every target field; None: each counts by its number of elements.
        optimizer: called with the network's parameters.
        learning_rate: called with the optimizer.
        optimization: precision, compilation, clipping.
        report_interval: training steps between reports; reading a loss waits for the device.
    """

    loss: Loss = mse
    field_weights: Mapping[str, float] | None = None
    optimizer: OptimizerFactory = adam
    learning_rate: LearningRateFactory = _CONSTANT_RATE
    optimization: Optimization = _PLAIN
    report_interval: int = 20


class TrainingStream:
    """The opened stream of one rank, for one training loop. Everything runs on the thread that iterates its turns.

    All ranks are given the same number of turns, and must take the same number of training steps: one per turn, also
    where `turn.batch` is None. Asking for the next turn says that the training step of the last one has ended.

    Attributes:
        turns: to be iterated once. Blocks until samples come, as long as the turns given let it.
        surrogate: to be trained, on the device of the batches; normalized before the first turn is handed out.
        held_out: samples to validate on; None: there is no validation.
        group: this rank among all.
        recipe: how to train, as configured.
        observe: told a batch and the loss of each of its samples, [B]; does nothing unless somebody asks.
        batches: turns handed out so far, those before a restart included.
        ended: all turns were taken; a loop may return before.
        is_trial: the turns are made up, to see whether the loop works: leave no trace outside of it.

    Args:
        turns: of this rank.
        on_step: told what the loop reports.
        on_validation: told after each validation.
        on_cut: called between two training steps when all ranks take a checkpoint: its number; None: after the last
            one. What must be in it is then to be had by `state_dict`.
        restored: what `state_dict` gave before a restart.

    Raises:
        ConfigurationError: what was restored does not fit the surrogate.
        ValueError: field weights that do not fit the targets.
    """

    def __init__(
        self,
        turns: Iterable[Turn],
        *,
        surrogate: Surrogate,
        held_out: ValidationSet | None = None,
        group: RankGroup | None = None,
        recipe: TrainingRecipe | None = None,
        on_step: Callable[[StepReport], None] = lambda report: None,
        on_validation: Callable[[ValidationReport], None] = lambda report: None,
        observe: Callable[[Batch, Tensor], None] = lambda batch, losses: None,
        on_cut: Callable[[int | None], None] = lambda number: None,
        restored: Mapping[str, Any] | None = None,
        is_trial: bool = False,
    ) -> None:
        let_single_values_pass(surrogate.network)
        self.surrogate = surrogate
        self.held_out = held_out
        self.group = RankGroup.of_one() if group is None else group
        self.recipe = TrainingRecipe() if recipe is None else recipe
        self.observe = observe
        self.is_trial = is_trial
        self.turns: Iterator[Turn] = self._hand_out(turns)
        self._losses = FieldLosses(self.recipe.loss, surrogate.task.problem, self.recipe.field_weights)
        self._on_step = on_step
        self._on_validation = on_validation
        self._on_cut = on_cut
        self._restored: Mapping[str, Any] = restored or {}
        self._kept: dict[str, Stateful] = {}
        self._clock = InputClock()
        self.batches: int = self._restored.get("batches", 0)
        self.ended = False
        self._validated_at: int = self.batches
        self._samples: int = self._restored.get("samples", 0)
        self._samples_before = self._samples
        self._loss: float = self._restored.get("loss", math.nan)
        self.keep(_SURROGATE, surrogate)

    @property
    def device(self) -> torch.device:
        """Where batches lie and the network computes."""
        return self.surrogate.device

    @property
    def validated(self) -> bool:
        """Whether nothing was trained since the last validation."""
        return self._validated_at == self.batches

    def objective(self, loss: Loss | None = None) -> nn.Module:
        """What is minimized: `objective(turn.batch, turn.progress)` gives the loss of each sample, [B].

        With several ranks the gradients of all are averaged: weigh the summed losses by
        `group.size / turn.num_samples_global`, and call it on every rank at every turn; without a batch it gives a
        zero. All ranks start from rank 0's weights. The surrogate is in training mode from now on.

        Args:
            loss: of one field; None: the configured one.
        """
        recipe = self.recipe
        losses = FieldLosses(loss or recipe.loss, self.surrogate.task.problem, recipe.field_weights)
        if recipe.optimization.compile:
            self.surrogate.network.compile()
        self.surrogate.train()
        objective = Objective(self.surrogate, losses, precision=recipe.optimization.precision)
        return joined(objective, self.device) if self.group.is_joined else objective

    def keep(self, name: str, thing: Stateful) -> None:
        """Keep something over a restart: call it before the first turn; what was kept is loaded into it.

        Each rank keeps its own. After a resume with more server ranks the new ones go on from what rank 0 had kept,
        after one with fewer that of the others is not used.

        Raises:
            ConfigurationError: what was kept does not fit to it.
            ValueError: the name is taken; the surrogate is kept under `surrogate`.
        """
        if name in self._kept:
            raise ValueError(f"{name!r} is kept already ({', '.join(self._kept)}): give another name")
        if name in self._restored.get("kept", {}):
            try:
                thing.load_state_dict(self._restored["kept"][name])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    f"what a checkpoint holds of {name!r} does not fit to what is there now: {error}: a training "
                    "goes on with the model, the optimizer and the loop that it began with"
                ) from error
        self._kept[name] = thing

    def report(self, *, loss: Tensor | float, learning_rate: float = math.nan, **more: float) -> None:
        """Say how the training goes, after a training step.

        Args:
            loss: mean per-sample loss of this rank, normalized units; a tensor is waited for.
            learning_rate: of the last training step.
            more: further metrics, by name.
        """
        self._loss = loss.item() if isinstance(loss, Tensor) else float(loss)
        report = StepReport(
            batch_index=self.batches,
            loss=self._loss,
            learning_rate=learning_rate,
            num_samples=self._samples,
            more=more,
        )
        self._on_step(report)

    def validate(self, surrogate: Surrogate | None = None) -> None:
        """Evaluate on the held-out samples of all ranks, and report it. Every rank must call it.

        Args:
            surrogate: None: the stream's own.
        """
        self._validated_at = self.batches
        if self.held_out is None:
            return
        report = self.held_out.evaluate(
            surrogate or self.surrogate, self._losses, self.group.training, batches=self.batches
        )
        if report is not None:
            self._on_validation(report)

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs, taken between two turns: what is kept, and the counters."""
        kept = {name: thing.state_dict() for name, thing in self._kept.items()}
        return {"batches": self.batches, "samples": self._samples, "loss": self._loss, "kept": kept}

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of what the loop keeps over a restart besides the surrogate."""
        return tuple(name for name in self._kept if name != _SURROGATE)

    def summary(self) -> TrainingSummary:
        """The training so far."""
        seconds = self._clock.elapsed_s
        return TrainingSummary(
            batches=self.batches,
            samples=self._samples,
            seconds=seconds,
            samples_per_second=(self._samples - self._samples_before) / seconds if seconds else 0.0,
            input_wait_fraction=self._clock.wait_s / seconds if seconds else 0.0,
            final_training_loss=None if math.isnan(self._loss) else self._loss,
            startup_seconds=self._clock.startup_s,
        )

    def _hand_out(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        frozen = self.batches > 0  # moving it would change what the restored weights mean
        for turn in self._clock.measure(turns):
            if not frozen:
                self.surrogate.normalization.freeze(turn.statistics, turn.time_range)
                frozen = True
            self.batches += 1
            self._samples += 0 if turn.batch is None else turn.batch.size
            yield turn
            if turn.checkpoint is not None:
                self._on_cut(turn.checkpoint)
        self.ended = True
        self._on_cut(None)
