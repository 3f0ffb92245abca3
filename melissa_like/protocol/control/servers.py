"""What server ranks and the launcher say to each other."""

from typing import Literal, TypeAlias

import msgspec

from melissa_like.protocol.control.message import Message
from melissa_like.protocol.reports import Findings, Summary, ValidationFigures
from melissa_like.records import Purpose, Window

__all__ = [
    "Checked",
    "Checkpointed",
    "Delivery",
    "EndIsNear",
    "HeldOutOver",
    "HeldSteps",
    "ListClosed",
    "Losses",
    "Metrics",
    "Pressure",
    "Progress",
    "ReceptionOver",
    "RejectedPart",
    "Restored",
    "ServerFailed",
    "ServerFinished",
    "ServerHello",
    "ServerWelcome",
    "SimulationOver",
    "Standing",
    "StepRange",
    "TrainingBlocked",
    "TrainingEnd",
    "UnfitSample",
]


# -- server rank to launcher ------------------------------------------------------------------------------------------


class ServerHello(Message, frozen=True, kw_only=True):
    """A server rank receives at this endpoint.

    Attributes:
        rendezvous: where the other server ranks meet this one, opened by rank 0; empty of the others.
        window: what its task needs of a simulation to make a sample; None: one step.
    """

    endpoint: str
    host: str
    pid: int
    device: str
    rendezvous: str = ""
    window: Window | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What a server rank has received of one attempt since its last report.

    Attributes:
        steps: samples that are delivered now, each by its (first) step.
        num_parts: parts received.
        dropped: samples that were complete and are given up by themselves; no attempt need send them again.
        held: time steps of a deterministic solver that windows which are not complete have; no attempt need send them
            again as long as this server rank lives.
    """

    simulation: int
    attempt: int
    steps: tuple[int, ...]
    num_parts: int
    dropped: tuple[int, ...] = ()
    held: tuple[int, ...] = ()


class Progress(Message, frozen=True, kw_only=True):
    """Deliveries since the last report."""

    deliveries: tuple[Delivery, ...]


class RejectedPart(Message, frozen=True, kw_only=True):
    """A part was refused so that its attempt cannot complete; harmless refusals are only counted.

    Attributes:
        breaks_contract: another attempt would do the same; else something was lost on the way.
    """

    simulation: int
    attempt: int
    reason: str
    message: str
    breaks_contract: bool


class UnfitSample(Message, frozen=True, kw_only=True):
    """A complete sample must not be learned from, so its attempt has failed; said once of an attempt.

    Attributes:
        message: which sample, of which parameters, and why.
    """

    simulation: int
    attempt: int
    message: str


class Pressure(Message, frozen=True, kw_only=True):
    """Whether a put waits on this server rank: while one does, the progress clocks of simulations stand still."""

    put_waits: bool


class Metrics(Message, frozen=True, kw_only=True):
    """What a server rank measures, several times a second: for the live view and the sinks.

    Attributes:
        seen: samples in the buffer that were trained on.
        unseen: samples in the buffer that were not.
        samples_received: put into the buffer so far.
        samples_per_second: trained on, since the last report.
        input_wait_seconds: that the trainer has waited for batches.
        buffer_bytes: of the samples in the buffer and their static fields, where sizes differ.
        more: what the training loop reports besides, by name.
    """

    seen: int = 0
    unseen: int = 0
    buffer_bytes: int | None = None
    samples_received: int = 0
    bytes_received: int = 0
    batches: int = 0
    samples_trained: int = 0
    samples_per_second: float = 0.0
    input_wait_seconds: float = 0.0
    training_loss: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None
    validation_relative_l2: float | None = None
    more: dict[str, float] = msgspec.field(default_factory=dict)

    def by_name(self) -> dict[str, float]:
        """All that is known, as the sinks take it."""
        known = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "more"}
        return {name: value for name, value in known.items() if value is not None} | self.more


class Losses(Message, frozen=True, kw_only=True):
    """What samples cost when they were trained on, for a sampler that asks for it.

    Attributes:
        keys: (simulation, step) of each sample.
        losses: per sample, normalized units.
    """

    keys: tuple[tuple[int, int], ...]
    losses: tuple[float, ...]


class Checked(Message, frozen=True, kw_only=True):
    """What a server rank that only checks a solver has found."""

    findings: Findings


#: Why the training of a server rank ended: nothing is left of a finished reception, enough batches, the loop had
#: enough, told to, or an error, of which `ServerFailed` has told before.
TrainingEnd: TypeAlias = Literal["drained", "max_batches", "returned", "stopped", "failed"]


class ServerFinished(Message, frozen=True, kw_only=True):
    """The training of a server rank has ended; the summary goes into the report, the last one if there are several."""

    end: TrainingEnd
    summary: Summary
    history: tuple[ValidationFigures, ...] = ()


class ServerFailed(Message, frozen=True, kw_only=True):
    """A server rank ends because of an error."""

    message: str


class TrainingBlocked(Message, frozen=True, kw_only=True):
    """The training of a server rank does not go on, though its data is there; its other threads do.

    Attributes:
        message: what takes too long, and in the next lines where.
    """

    message: str


class EndIsNear(Message, frozen=True, kw_only=True):
    """The job of a server rank ends soon, and nothing has failed: its scheduler says so ahead of a time limit.

    Attributes:
        message: how it is known.
    """

    message: str


class HeldSteps(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Samples of one simulation that a server rank has.

    Attributes:
        steps: by their (first) step, as half-open ranges.
    """

    simulation: int
    steps: tuple[tuple[int, int], ...]


class Restored(Message, frozen=True, kw_only=True):
    """A server rank of a later incarnation has loaded the newest checkpoint, and may be sent parts from now on.

    The first incarnation does not say it. What no rank names here was lost with the server ranks before.

    Attributes:
        checkpoint: its number, the same on every rank; None: there was none, and the training begins anew.
        over: simulations of which no rank lacks a sample in this checkpoint, as half-open ranges of their numbers.
        delivered: the samples that this rank has of all others, of those that are over too.
    """

    checkpoint: int | None
    over: tuple[tuple[int, int], ...] = ()
    delivered: tuple[HeldSteps, ...] = ()


class Checkpointed(Message, frozen=True, kw_only=True):
    """A checkpoint is complete: the shards of all server ranks are on the disk. Rank 0 says it.

    Attributes:
        number: of the checkpoint, growing over the whole study.
        batches: training steps in it.
        nbytes: of all its files.
    """

    number: int
    batches: int
    nbytes: int


# -- launcher to server rank ------------------------------------------------------------------------------------------


class ServerWelcome(Message, frozen=True, kw_only=True):
    """The answer to `ServerHello`, once rank 0 has opened the rendezvous.

    Attributes:
        rendezvous: host:port where the server ranks meet; empty for a single one.
        wants_losses: the sampler asks for the losses of samples.
    """

    rendezvous: str
    wants_losses: bool


class SimulationOver(Message, frozen=True, kw_only=True):
    """A simulation is complete or given up: nothing more comes of it.

    Attributes:
        samples_given_up: training samples that will never come.
    """

    simulation: int
    purpose: Purpose
    samples_given_up: int


class Standing(Message, frozen=True, kw_only=True):
    """The answer to the `Restored` of all server ranks: what `SimulationOver` had told the ranks before them, in sum.

    Attributes:
        num_over: training simulations.
        samples_given_up: training samples that will never come.
    """

    num_over: int
    samples_given_up: int


class HeldOutOver(Message, frozen=True, kw_only=True):
    """All held-out simulations are over: validation may begin."""


class ListClosed(Message, frozen=True, kw_only=True):
    """The sampler gave fewer simulations than the study asked for: so many training simulations are all there are."""

    num_simulations: int


class StepRange(Message, frozen=True, kw_only=True):
    """The numbers of the first and the last time step of the first simulation that has ended; said once."""

    first: int
    last: int


class ReceptionOver(Message, frozen=True, kw_only=True):
    """No simulation is left: the watermark is lifted and the buffer drained."""

    num_samples: int
