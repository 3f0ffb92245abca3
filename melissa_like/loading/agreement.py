"""What the server ranks do next, decided purely and identically on every rank.

DDP hangs when one rank steps and another does not, and streams are never even. So before every few training steps the
ranks exchange one small vector each, `RankState`, and every rank computes the same `Plan` from all of them: how many
training steps, how many samples each rank draws in each, whether to validate, to take a checkpoint, to end. Nothing
else steers.

Between the exchange and a draw only the receiver touches the buffer, and it only adds; draws made ahead and not yet
settled are not offered. So what was offered is still there when the plan draws it.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from enum import Enum

import numpy as np

from melissa_like.errors import MelissaLikeError
from melissa_like.records import FloatArray

__all__ = ["AgreementTerms", "Plan", "PlannedStep", "RankState", "ServerRankFailedError", "Verdict", "plan"]


class ServerRankFailedError(MelissaLikeError):
    """The loader of another server rank failed or was closed early, so no rank can step any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """One rank's word in the agreement.

    Attributes:
        failed: its loader ends and says so for the last time. First, so that any message shows it at position 0.
        stop_requested: it was told to stop.
        validation_ready: it holds what a validation needs.
        put_waits: its receiver waits for room in the buffer, which no training step under way may yet make.
        reception_over: it will receive no more samples.
        available: samples it can draw now, respecting the gate.
        held: samples it could draw with the gate lifted.
        delivered: training samples delivered to it so far.
        time_known: it knows what time steps are scaled from, or need not.
        first_step: number of the first step of a simulation, as far as it knows; infinite: it does not.
        last_step: the same of the last, or minus infinity.
        checkpoint_due: for this rank it is time for a checkpoint.
        checkpoint_done: number of the newest checkpoint whose writing has ended here, well or not.
        checkpoint_failed: it has not ended well.
    """

    failed: bool = False
    stop_requested: bool = False
    validation_ready: bool = False
    put_waits: bool = False
    reception_over: bool = False
    available: int = 0
    held: int = 0
    delivered: int = 0
    time_known: bool = True
    first_step: float = math.inf
    last_step: float = -math.inf
    checkpoint_due: bool = False
    checkpoint_done: int = 0
    checkpoint_failed: bool = False

    #: Numbers in the encoded vector.
    WIDTH = 14

    def encode(self) -> FloatArray:
        """As a float64 vector of `WIDTH` numbers; counts stay exact up to 2**53."""
        return np.array(astuple(self), dtype=np.float64)

    @classmethod
    def decode(cls, values: FloatArray) -> "RankState":
        """Read what `encode` wrote."""
        failed, stop, validation, waits, over, available, held, delivered, known, first, last, *checkpoint = values[
            : cls.WIDTH
        ].tolist()
        due, done, spoiled = checkpoint
        return cls(
            failed=bool(failed),
            stop_requested=bool(stop),
            validation_ready=bool(validation),
            put_waits=bool(waits),
            reception_over=bool(over),
            available=int(available),
            held=int(held),
            delivered=int(delivered),
            time_known=bool(known),
            first_step=first,
            last_step=last,
            checkpoint_due=bool(due),
            checkpoint_done=int(done),
            checkpoint_failed=bool(spoiled),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementTerms:
    """What the ranks know from the configuration, equal on all of them.

    Attributes:
        batch_size: samples per training step and rank.
        expected_samples: training samples of the study over all ranks; the measure of `Plan.progress`.
        max_batches: training steps after which training ends; None: when the buffers are drained.
        validation_interval: training steps between validations; 0: none.
        steps_per_agreement: the most training steps that one plan covers.

    Raises:
        ValueError: a number that cannot work.
    """

    batch_size: int
    expected_samples: int
    max_batches: int | None = None
    validation_interval: int = 0
    steps_per_agreement: int = 16

    def __post_init__(self) -> None:
        for name in ("batch_size", "expected_samples", "steps_per_agreement"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        for name in ("max_batches", "validation_interval"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 or more")


class Verdict(Enum):
    """What follows the steps of a plan."""

    CONTINUE = "agree again"
    FINISHED = "nothing is left to draw, or max_batches is reached"
    STOPPED = "a rank was told to stop"
    FAILED = "a rank's loader failed"
    BLIND = "a rank's buffer is full, and what time steps are scaled from is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One training step: what each rank draws (0: it steps with zero weight) and what follows it.

    Attributes:
        validate: a validation.
        checkpoint: the checkpoint of this number; None: none.
    """

    sizes: tuple[int, ...]
    validate: bool
    checkpoint: int | None = None

    @property
    def num_samples(self) -> int:
        """Samples of the step over all ranks, at least 1."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The agreed next training steps; none with `Verdict.CONTINUE` means to wait for samples.

    Attributes:
        gate_lifted: the draws ignore the watermark.
        progress: share of the study's samples delivered so far, 0 to 1.
        failed_rank: the first rank that failed, with `Verdict.FAILED`.
        time_range: numbers of the first and the last step of a simulation, over all that any rank knows; None: none.
        checkpoint_down: whether the newest checkpoint is down on all ranks; None: some have not ended writing.
    """

    steps: tuple[PlannedStep, ...] = ()
    verdict: Verdict = Verdict.CONTINUE
    gate_lifted: bool = False
    progress: float = 0.0
    failed_rank: int | None = None
    time_range: tuple[float, float] | None = None
    checkpoint_down: bool | None = None


def plan(ranks: Sequence[RankState], terms: AgreementTerms, *, batches_done: int, newest_checkpoint: int = 0) -> Plan:
    """Agree on the next training steps.

    In this order: a failure ends everything; a stop ends it without an error; nothing before every rank knows what time
    steps are scaled from; full batches where every rank has them; what is left, once every reception is over; what is
    held, while any rank's put waits (a full rank must not starve because another is empty); otherwise wait.
    After the last of these steps a checkpoint is taken, if it is time for any rank and all have written the one before.

    Args:
        ranks: the state of every rank, by rank.
        terms: the configuration.
        batches_done: training steps planned so far.
        newest_checkpoint: number of the last one planned, or of the last one before a restart.
    """
    agreed = _plan_steps(ranks, terms, batches_done)
    down = None
    if all(rank.checkpoint_done >= newest_checkpoint for rank in ranks):
        down = not any(rank.checkpoint_failed for rank in ranks)
    steps = agreed.steps
    if steps and down is not None and any(rank.checkpoint_due for rank in ranks):
        steps = (*steps[:-1], replace(steps[-1], checkpoint=newest_checkpoint + 1))
    return replace(agreed, steps=steps, checkpoint_down=down)


def _plan_steps(ranks: Sequence[RankState], terms: AgreementTerms, batches_done: int) -> Plan:
    progress = min(1.0, sum(rank.delivered for rank in ranks) / terms.expected_samples)
    failed = next((number for number, rank in enumerate(ranks) if rank.failed), None)
    if failed is not None:
        return Plan(verdict=Verdict.FAILED, failed_rank=failed, progress=progress)
    if any(rank.stop_requested for rank in ranks):
        return Plan(verdict=Verdict.STOPPED, progress=progress)
    if terms.max_batches is not None and batches_done >= terms.max_batches:
        return Plan(verdict=Verdict.FINISHED, progress=progress)
    over = all(rank.reception_over for rank in ranks)
    if over and not any(rank.held for rank in ranks):
        return Plan(verdict=Verdict.FINISHED, progress=progress)
    if not all(rank.time_known for rank in ranks):
        blind = any(rank.put_waits for rank in ranks)
        return Plan(verdict=Verdict.BLIND if blind else Verdict.CONTINUE, progress=progress)
    num_steps, drawable, gate_lifted = _supply(ranks, terms, over=over)
    if terms.max_batches is not None:
        num_steps = min(num_steps, terms.max_batches - batches_done)
    steps = _steps(num_steps, drawable, terms, batches_done, all(rank.validation_ready for rank in ranks))
    return Plan(steps=steps, gate_lifted=gate_lifted, progress=progress, time_range=_time_range(ranks))


def _time_range(ranks: Sequence[RankState]) -> tuple[float, float] | None:
    first, last = min(rank.first_step for rank in ranks), max(rank.last_step for rank in ranks)
    return (first, last) if first <= last else None


def _supply(ranks: Sequence[RankState], terms: AgreementTerms, *, over: bool) -> tuple[int, list[int], bool]:
    """How many steps, from how many samples per rank, and whether the gate is lifted for them."""
    batch_size, most = terms.batch_size, terms.steps_per_agreement
    available = [rank.available for rank in ranks]
    if min(available) >= batch_size:
        return min(min(available) // batch_size, most), available, False
    held = [rank.held for rank in ranks]
    if over:
        return min(-(-max(held) // batch_size), most), held, True
    if any(rank.put_waits for rank in ranks) and max(held) > 0:
        return min(max(1, max(held) // batch_size), most), held, True
    return 0, available, False


def _steps(
    num_steps: int, drawable: Sequence[int], terms: AgreementTerms, batches_done: int, validation_ready: bool
) -> tuple[PlannedStep, ...]:
    """Cut what each rank has into batches, full ones first."""
    steps = []
    for index in range(num_steps):
        drawn = index * terms.batch_size
        sizes = tuple(min(terms.batch_size, max(0, count - drawn)) for count in drawable)
        due = terms.validation_interval > 0 and (batches_done + index + 1) % terms.validation_interval == 0
        steps.append(PlannedStep(sizes=sizes, validate=due and validation_ready))
    return tuple(steps)
