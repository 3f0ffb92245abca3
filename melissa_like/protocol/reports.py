"""What a server rank reports at its end, typed: figures of its training, and what a check of a solver has found."""

from typing import Literal

import msgspec

__all__ = [
    "CheckpointFigures",
    "FieldFindings",
    "Findings",
    "RollOutFigures",
    "SpreadFigures",
    "Summary",
    "TrainingFigures",
    "ValidationFigures",
]


class TrainingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's training; None is what is not known of a rank that ended without a word.

    Attributes:
        batches: training steps, the same on all ranks.
        samples: trained on by this rank, each as often as it was drawn.
        seconds: from the first batch to the end.
        input_wait_fraction: share of `seconds` in which the loop waited for batches.
        startup_seconds: before the first batch.
        collectives: exchanges in which the ranks agreed.
    """

    batches: int
    samples: int
    seconds: float | None = None
    samples_per_second: float | None = None
    input_wait_fraction: float | None = None
    startup_seconds: float | None = None
    final_training_loss: float | None = None
    collectives: int = 0
    collective_seconds: float = 0.0


class SpreadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Some errors in short; None is what is not finite, because what was predicted is not."""

    mean: float | None = None
    median: float | None = None
    p99: float | None = None
    max: float | None = None


class RollOutFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Roll-outs over the held-out simulations, each from its first time steps to its end.

    Attributes:
        num_simulations: that were rolled out.
        num_steps: of the longest.
        relative_l2: over simulations, steps and fields.
        by_step: the same at each step; empty of earlier validations than the last.
        num_fields: fields of all simulations, followed each for itself.
        correlation_time: mean number of the first step at which such a field's correlation with the solver's is below
            0.8; where none is, the number of steps. None if there is no correlation.
        num_correlated: of these fields, those that stay above to the end.
        persistence: mean error of one call if the fields stayed as they were before it; None if it is not known.
    """

    num_simulations: int
    num_steps: int
    relative_l2: SpreadFigures
    by_step: tuple[SpreadFigures, ...] = ()
    num_fields: int = 0
    correlation_time: float | None = None
    correlation_time_median: float | None = None
    correlation_time_min: float | None = None
    num_correlated: int = 0
    persistence: float | None = None


class ValidationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The error on the held-out simulations after so many training steps, original units.

    Attributes:
        relative_l2: mean over samples, their time steps, and fields; the next three are of the same.
        relative_l2_by_field: the mean of each field alone; None is what is not finite.
        rollout: None if the surrogate does not roll out.
    """

    batches: int
    loss: float
    relative_l2: float
    num_samples: int
    relative_l2_median: float | None = None
    relative_l2_p99: float | None = None
    relative_l2_max: float | None = None
    relative_l2_by_field: dict[str, float | None] = {}
    rollout: RollOutFigures | None = None

    @property
    def in_short(self) -> "ValidationFigures":
        """Without the steps of the roll-outs one by one, of which a long history would be full."""
        if self.rollout is None:
            return self
        return msgspec.structs.replace(self, rollout=msgspec.structs.replace(self.rollout, by_step=()))


class CheckpointFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoints that one rank has taken since it was started.

    Attributes:
        number: of the newest complete one; None before the first, and of other ranks than 0.
        written: shards of this rank.
        nbytes: of the newest of them.
        seconds_paused: in which the training stood still for them.
        seconds_writing: off the training path.
    """

    number: int | None = None
    written: int = 0
    nbytes: int = 0
    seconds_paused: float = 0.0
    seconds_writing: float = 0.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's part of the report.

    Attributes:
        trained_on: samples that were trained on at least once.
        refused: parts that were not taken, by reason; duplicates are counted apart.
        training: None before there was a batch.
        surrogate: whether this rank has saved one, and whether its training had come to its end.
        checkpoints: None if none are taken.
        problems: what went wrong without ending the study, a line each.
    """

    trained_on: int = 0
    duplicates_dropped: int = 0
    refused: dict[str, int] = {}
    training: TrainingFigures | None = None
    validation: ValidationFigures | None = None
    ingest_bytes: int = 0
    ingest_seconds: float = 0.0
    trainer_waited_seconds: float = 0.0
    solvers_waited_seconds: float = 0.0
    surrogate: Literal["complete", "incomplete"] | None = None
    checkpoints: CheckpointFigures | None = None
    problems: tuple[str, ...] = ()


class FieldFindings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check saw of one field; lowest and highest are of the finite values, None if there are none.

    Attributes:
        num_named: points that its values name, each counted once; None: they are no numbers of points, or none came.
    """

    name: str
    lowest: float | None
    highest: float | None
    not_finite: int
    first_bad_step: int | None
    num_named: int | None = None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check saw of one simulation.

    Attributes:
        parameters: in the order of the declaration; empty if no sample arrived.
        steps: number, first and last of the time steps; None if none arrived.
        times: first and last physical time; None if the solver gives none.
        arrived_at: UNIX time of the first sample.
        seconds_per_step: median; None with fewer than two samples.
        extents: the sizes that the simulation has said, by name.
        static: what it has sent once; empty if not all of it arrived, or there is nothing.
        points_by_rank: of each client rank in a time step; empty where no field has an extent.
    """

    fields: tuple[FieldFindings, ...]
    parameters: tuple[float, ...] = ()
    steps: tuple[int, int, int] | None = None
    times: tuple[float, float] | None = None
    arrived_at: float | None = None
    seconds_per_step: float | None = None
    extents: dict[str, int] = {}
    static: tuple[FieldFindings, ...] = ()
    points_by_rank: tuple[int, ...] = ()
