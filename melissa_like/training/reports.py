"""What a trainer says while and after it trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["StepReport", "TrainingSummary", "ValidationReport"]


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
class ValidationReport:
    """The error on held-out simulations, over all ranks, in original units.

    Attributes:
        batches: training steps done.
        loss: mean of the loss over the samples.
        relative_l2: mean of ‖prediction − truth‖ / ‖truth‖ over samples and fields; a field that is zero everywhere in
            a sample has no relative error and is left out. NaN if all are.
        num_samples: held-out samples.
    """

    batches: int
    loss: float
    relative_l2: float
    num_samples: int


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
