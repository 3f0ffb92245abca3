"""The control messages: typed, versioned, msgpack by way of msgspec; never pickle.

One class per thing said. Who says it is the peer's address on the socket, so no message repeats it. An `Envelope`
carries one message with the study's identity, a number and an acknowledgement (`melissa_like.protocol.link`).
"""

from typing import Any, Literal, TypeAlias

import msgspec

from melissa_like.errors import UNDECODABLE, ProtocolError, printable
from melissa_like.protocol.reports import Findings, Summary, ValidationFigures
from melissa_like.records import Purpose, Window

__all__ = [
    "CONTROL_VERSION",
    "Acknowledge",
    "Assignment",
    "Blocked",
    "Checked",
    "Checkpointed",
    "ControlMessage",
    "Delivery",
    "EndIsNear",
    "Envelope",
    "Failure",
    "Finish",
    "Goodbye",
    "HeldOutOver",
    "HeldSteps",
    "Hello",
    "ListClosed",
    "Losses",
    "Metrics",
    "Pressure",
    "Progress",
    "ReceptionOver",
    "Recomputes",
    "Refused",
    "RejectedPart",
    "Request",
    "Restored",
    "Scale",
    "Scaled",
    "ServerFailed",
    "ServerFinished",
    "ServerHello",
    "ServerWelcome",
    "SimulationOver",
    "Standing",
    "StepRange",
    "Stop",
    "TrainingBlocked",
    "TrainingEnd",
    "UnfitSample",
    "Welcome",
    "WireField",
    "decode_envelope",
    "encode_envelope",
]

CONTROL_VERSION = 1


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """Base of the messages: the class name is the tag on the wire.

    They hold nothing that could lead back to them, so the garbage collector need not look at them: a journal of a
    million is read a third faster.
    """


# -- solver rank to launcher ------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True, kw_only=True):
    """A solver job has started: said by rank 0, once. Another rank begins its own connection with `Blocked`."""

    num_ranks: int
    host: str
    pid: int


class Request(_Message, frozen=True, kw_only=True):
    """Rank 0 is ready for a simulation."""


class Goodbye(_Message, frozen=True, kw_only=True):
    """A simulation has sent all its steps: so many parts went to each server rank."""

    simulation: int
    attempt: int
    num_steps: int
    parts_sent: tuple[int, ...]


class Recomputes(_Message, frozen=True, kw_only=True):
    """A sign of life, about once a second: steps that the server ranks hold already are computed again and not sent.

    Said by rank 0, not numbered: the next one replaces it.
    """

    simulation: int
    attempt: int


class Failure(_Message, frozen=True, kw_only=True):
    """The solver raised: the traceback's last lines.

    Attributes:
        breaks_contract: it sent what its declaration does not allow, so that another attempt would do the same.
    """

    simulation: int
    attempt: int
    message: str
    breaks_contract: bool = False


class Blocked(_Message, frozen=True, kw_only=True):
    """A rank's send has been blocked for a heartbeat: is the study alive, and the server the same?"""

    server_rank: int


# -- launcher to solver rank ------------------------------------------------------------------------------------------


class WireField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of the layout.

    Attributes:
        shape: (*grid) of a field of one component, (components, *grid) of a field of several.
        components: numbers per point of the grid.
        fill_value: to be sent for masked entries; None: they are an error.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    components: int = 1
    fill_value: float | None = None


class Welcome(_Message, frozen=True, kw_only=True):
    """The answer to `Hello`, and to `Blocked` while the study lives: where the fields go.

    Attributes:
        orphan_timeout_s: a job whose launcher lets a question wait for so long ends by itself.
    """

    server_endpoints: tuple[str, ...]
    server_incarnation: int
    launcher_incarnation: int
    routing: int
    layout_id: int
    fields: tuple[WireField, ...]
    parameters: tuple[str, ...]
    num_steps: int | None
    budget_bytes: int
    heartbeat_s: float
    orphan_timeout_s: float


class Refused(_Message, frozen=True, kw_only=True):
    """The client is not part of the study; it ends with the reason."""

    reason: str


class Assignment(_Message, frozen=True, kw_only=True):
    """The next simulation of a job.

    Attributes:
        delivered_steps: steps that the server ranks hold already and that need not be sent again, as ranges: the first
            and the one behind the last.
    """

    simulation: int
    attempt: int
    purpose: int
    parameters: tuple[float, ...]
    delivered_steps: tuple[tuple[int, int], ...]


class Finish(_Message, frozen=True, kw_only=True):
    """No simulation is left for this job: it ends with exit code 0."""

    reason: str


class Stop(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """The study is over for the receiver, at once.

    Attributes:
        save_within_s: how long a server rank may take to save what it has trained and to report; 0 to a solver rank.
    """

    reason: str
    save_within_s: float = 0.0


# -- server rank to launcher ------------------------------------------------------------------------------------------


class ServerHello(_Message, frozen=True, kw_only=True):
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
    """

    simulation: int
    attempt: int
    steps: tuple[int, ...]
    num_parts: int
    dropped: tuple[int, ...] = ()


class Progress(_Message, frozen=True, kw_only=True):
    """Deliveries since the last report."""

    deliveries: tuple[Delivery, ...]


class RejectedPart(_Message, frozen=True, kw_only=True):
    """A part was refused so that its attempt cannot complete; harmless refusals are only counted.

    Attributes:
        breaks_contract: another attempt would do the same; else something was lost on the way.
    """

    simulation: int
    attempt: int
    reason: str
    message: str
    breaks_contract: bool


class UnfitSample(_Message, frozen=True, kw_only=True):
    """A complete sample must not be learned from, so its attempt has failed; said once of an attempt.

    Attributes:
        message: which sample, of which parameters, and why.
    """

    simulation: int
    attempt: int
    message: str


class Pressure(_Message, frozen=True, kw_only=True):
    """Whether a put waits on this server rank: while one does, the progress clocks of simulations stand still."""

    put_waits: bool


class Metrics(_Message, frozen=True, kw_only=True):
    """What a server rank measures, several times a second: for the live view and the sinks.

    Attributes:
        seen: samples in the buffer that were trained on.
        unseen: samples in the buffer that were not.
        samples_received: put into the buffer so far.
        samples_per_second: trained on, since the last report.
        input_wait_seconds: that the trainer has waited for batches.
        more: what the training loop reports besides, by name.
    """

    seen: int = 0
    unseen: int = 0
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
    more: dict[str, float] = {}

    def by_name(self) -> dict[str, float]:
        """All that is known, as the sinks take it."""
        known = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "more"}
        return {name: value for name, value in known.items() if value is not None} | self.more


class Losses(_Message, frozen=True, kw_only=True):
    """What samples cost when they were trained on, for a sampler that asks for it.

    Attributes:
        keys: (simulation, step) of each sample.
        losses: per sample, normalized units.
    """

    keys: tuple[tuple[int, int], ...]
    losses: tuple[float, ...]


class Checked(_Message, frozen=True, kw_only=True):
    """What a server rank that only checks a solver has found."""

    findings: Findings


#: Why the training of a server rank ended: nothing is left of a finished reception, enough batches, the loop had
#: enough, told to, or an error, of which `ServerFailed` has told before.
TrainingEnd: TypeAlias = Literal["drained", "max_batches", "returned", "stopped", "failed"]


class ServerFinished(_Message, frozen=True, kw_only=True):
    """The training of a server rank has ended; the summary goes into the report, the last one if there are several."""

    end: TrainingEnd
    summary: Summary
    history: tuple[ValidationFigures, ...] = ()


class ServerFailed(_Message, frozen=True, kw_only=True):
    """A server rank ends because of an error."""

    message: str


class TrainingBlocked(_Message, frozen=True, kw_only=True):
    """The training of a server rank does not go on, though its data is there; its other threads do.

    Attributes:
        message: what takes too long, and in the next lines where.
    """

    message: str


class EndIsNear(_Message, frozen=True, kw_only=True):
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


class Restored(_Message, frozen=True, kw_only=True):
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


class Checkpointed(_Message, frozen=True, kw_only=True):
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


class ServerWelcome(_Message, frozen=True, kw_only=True):
    """The answer to `ServerHello`, once rank 0 has opened the rendezvous.

    Attributes:
        rendezvous: host:port where the server ranks meet; empty for a single one.
        wants_losses: the sampler asks for the losses of samples.
    """

    rendezvous: str
    wants_losses: bool


class SimulationOver(_Message, frozen=True, kw_only=True):
    """A simulation is complete or given up: nothing more comes of it.

    Attributes:
        samples_given_up: training samples that will never come.
    """

    simulation: int
    purpose: Purpose
    samples_given_up: int


class Standing(_Message, frozen=True, kw_only=True):
    """The answer to the `Restored` of all server ranks: what `SimulationOver` had told the ranks before them, in sum.

    Attributes:
        num_over: training simulations.
        samples_given_up: training samples that will never come.
    """

    num_over: int
    samples_given_up: int


class HeldOutOver(_Message, frozen=True, kw_only=True):
    """All held-out simulations are over: validation may begin."""


class ListClosed(_Message, frozen=True, kw_only=True):
    """The sampler gave fewer simulations than the study asked for: so many training simulations are all there are."""

    num_simulations: int


class StepRange(_Message, frozen=True, kw_only=True):
    """The numbers of the first and the last time step of the first simulation that has ended; said once."""

    first: int
    last: int


class ReceptionOver(_Message, frozen=True, kw_only=True):
    """No simulation is left: the watermark is lifted and the buffer drained."""

    num_samples: int


# -- the study's user to launcher, and back ----------------------------------------------------------------------------


class Scale(_Message, frozen=True, kw_only=True):
    """From now on so many solver jobs may be alive at once; answered by `Scaled`, or by `Refused`.

    Said again it changes nothing more.
    """

    max_jobs: int


class Scaled(_Message, frozen=True, kw_only=True):
    """The answer to `Scale`.

    Attributes:
        before: as many might be alive until now.
        max_jobs: as many may be alive from now on.
        num_jobs: that are alive, without those that are canceled now or are about to end anyway.
        num_canceled: jobs that had no simulation yet and are ended at once.
        num_leaving: jobs that end when their simulation has.
    """

    before: int
    max_jobs: int
    num_jobs: int
    num_canceled: int
    num_leaving: int


# -- either way -------------------------------------------------------------------------------------------------------


class Acknowledge(_Message, frozen=True, kw_only=True):
    """Carries nothing but the envelope's acknowledgement."""


ControlMessage: TypeAlias = (
    Hello
    | Request
    | Recomputes
    | Goodbye
    | Failure
    | Blocked
    | Welcome
    | Refused
    | Assignment
    | Finish
    | Stop
    | ServerHello
    | Progress
    | RejectedPart
    | UnfitSample
    | Pressure
    | Metrics
    | Losses
    | Checked
    | ServerFinished
    | ServerFailed
    | TrainingBlocked
    | EndIsNear
    | ServerWelcome
    | Restored
    | Checkpointed
    | Standing
    | SimulationOver
    | HeldOutOver
    | ListClosed
    | StepRange
    | ReceptionOver
    | Scale
    | Scaled
    | Acknowledge
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One message on the control socket.

    Attributes:
        number: position in the sender's stream, from 1; 0 for what is not acknowledged (a repeated report, an
            acknowledgement).
        acknowledged: the highest number received in order from the other side.
    """

    version: int
    study: bytes
    secret: bytes
    launcher_incarnation: int
    number: int
    acknowledged: int
    message: ControlMessage

    def __repr__(self) -> str:
        return f"Envelope(number={self.number}, acknowledged={self.acknowledged}, message={self.message!r})"


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope as msgpack; what UTF-8 cannot hold of a text, as in a strange file's name, becomes an escape."""
    try:
        return _ENCODER.encode(envelope)
    except UnicodeEncodeError:
        return _ENCODER.encode(_printable(msgspec.to_builtins(envelope, builtin_types=(bytes,))))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def decode_envelope(encoded: bytes) -> Envelope:
    """The inverse of `encode_envelope`.

    Raises:
        ProtocolError: not an envelope, an unknown message, or another version of the protocol.
    """
    try:
        envelope = _DECODER.decode(encoded)
    except UNDECODABLE as error:
        raise ProtocolError(f"not a control message: {error}") from None
    if envelope.version != CONTROL_VERSION:
        raise ProtocolError(
            f"control message of version {envelope.version}, this side speaks {CONTROL_VERSION}: install the same "
            "release of melissa-like for the launcher and the solver"
        )
    return envelope
