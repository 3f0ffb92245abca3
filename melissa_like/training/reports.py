"""What a trainer says while and after it trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["RollOutReport", "Spread", "StepReport", "TrainingSummary", "ValidationReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Said every few training steps.

    Attributes:
        batch_index: training steps done.
        loss: mean per-sample loss of this rank since the last report, normalized units; the one before if this rank
            had no samples since, NaN if it never had any.
        learning_rate: of the last training step, first parameter group; NaN if the loop does not say it.
        num_samples: samples this rank has trained on.
        more: what a loop reports besides, by name.
    """

    batch_index: int
    loss: float
    learning_rate: float
    num_samples: int
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Some numbers in short; NaN if there are none. What is infinite counts: it is the error of what is not finite."""

    mean: float
    median: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RollOutReport:
    """Roll-outs over the held-out simulations of all ranks, each from its first time steps to its end, original units.

    Attributes:
        num_simulations: that were rolled out.
        num_steps: of the longest roll-out.
        relative_l2: of ‖prediction − truth‖ / ‖truth‖ over simulations, steps and fields.
        by_step: the same at each step of the roll-out, over the simulations that are as long.
        num_fields: fields of all simulations, whose roll-outs are followed each for itself.
        correlation_time: mean number of the first step at which the correlation of such a field with the solver's is
            below 0.8; where none is, the number of steps. NaN if the solver's fields are constant.
        correlation_time_median: of the same.
        correlation_time_min: of the same.
        num_correlated: of these fields, those that stay above to the end.
        persistence: mean relative error of one call if the fields stayed as they were at the last time step before it:
            what the error of one step is to be compared with. NaN if it is not known.
    """

    num_simulations: int
    num_steps: int
    relative_l2: Spread
    by_step: tuple[Spread, ...]
    num_fields: int = 0
    correlation_time: float = math.nan
    correlation_time_median: float = math.nan
    correlation_time_min: float = math.nan
    num_correlated: int = 0
    persistence: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """The error on held-out simulations, over all ranks, in original units.

    A sample is predicted from what the solver sent: of an autoregressive surrogate this is the error of one call.

    Attributes:
        batches: training steps done.
        loss: mean of the loss over the samples.
        relative_l2: mean of ‖prediction − truth‖ / ‖truth‖ over samples, their time steps, and fields; a field that is
            zero everywhere in a step has no relative error and is left out. NaN if all are.
        relative_l2_median: of the same.
        relative_l2_p99: the 99th percentile of the same.
        relative_l2_max: of the same.
        relative_l2_by_field: the mean of each field alone; NaN of one that is zero everywhere.
        num_samples: held-out samples.
        rollout: None if the task does not roll out, or no simulation is known from its first step on.
    """

    batches: int
    loss: float
    relative_l2: float
    num_samples: int
    relative_l2_median: float = math.nan
    relative_l2_p99: float = math.nan
    relative_l2_max: float = math.nan
    relative_l2_by_field: Mapping[str, float] = field(default_factory=dict)
    rollout: RollOutReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """One rank's training.

    Attributes:
        batches: training steps, the same on all ranks, those before a restart included.
        samples: samples this rank trained on, those before a restart included.
        seconds: from the first turn's arrival to the end; validations are part of it.
        samples_per_second: samples of this run over `seconds`.
        input_wait_fraction: share of `seconds` in which the trainer waited for the next turn.
        final_training_loss: mean per-sample loss at the last report, normalized units; None without a sample.
        startup_seconds: waiting for the first turn (the buffer's watermark), not part of `seconds`.
    """

    batches: int
    samples: int
    seconds: float
    samples_per_second: float
    input_wait_fraction: float
    final_training_loss: float | None
    startup_seconds: float
