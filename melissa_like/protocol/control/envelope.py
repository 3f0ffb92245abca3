"""An envelope carries one message, with the identity of the study, a number and an acknowledgement."""

from typing import Any, TypeAlias

import msgspec

from melissa_like.errors import UNDECODABLE, ProtocolError, printable
from melissa_like.protocol.control.jobs import (
    Assignment,
    Blocked,
    Failure,
    Finish,
    Followed,
    Goodbye,
    Hello,
    Recomputes,
    Refused,
    Request,
    Stop,
    Welcome,
)
from melissa_like.protocol.control.message import Acknowledge
from melissa_like.protocol.control.servers import (
    Checked,
    Checkpointed,
    EndIsNear,
    HeldOutOver,
    ListClosed,
    Losses,
    Metrics,
    Pressure,
    Progress,
    ReceptionOver,
    RejectedPart,
    Restored,
    ServerFailed,
    ServerFinished,
    ServerHello,
    ServerWelcome,
    SimulationOver,
    Standing,
    StepRange,
    TrainingBlocked,
    UnfitSample,
)
from melissa_like.protocol.control.users import Scale, Scaled

__all__ = [
    "CONTROL_VERSION",
    "ControlMessage",
    "Envelope",
    "OtherVersionError",
    "decode_envelope",
    "encode_envelope",
]


CONTROL_VERSION = 2

ControlMessage: TypeAlias = (
    Hello
    | Request
    | Recomputes
    | Goodbye
    | Failure
    | Blocked
    | Followed
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


class OtherVersionError(ProtocolError):
    """An envelope of another version of the protocol.

    Attributes:
        envelope: what could be read of it.
    """

    def __init__(self, envelope: "UnreadEnvelope") -> None:
        self.envelope = envelope
        super().__init__(
            f"control message of version {envelope.version}, this side speaks {CONTROL_VERSION}: install the same "
            "release of melissa-like for the launcher and the solver"
        )


class UnreadEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """What envelopes of all versions have in common."""

    version: int
    study: bytes
    secret: bytes
    launcher_incarnation: int
    number: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Envelope)
_UNREAD_DECODER = msgspec.msgpack.Decoder(UnreadEnvelope)


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
        OtherVersionError: another version of the protocol.
        ProtocolError: not an envelope, or an unknown message.
    """
    try:
        envelope = _DECODER.decode(encoded)
    except UNDECODABLE as error:
        _refuse_other_version(encoded)
        raise ProtocolError(f"not a control message: {error}") from None
    if envelope.version != CONTROL_VERSION:
        _refuse_other_version(encoded)
    return envelope


def _refuse_other_version(encoded: bytes) -> None:
    """Of another version the message itself may be anything."""
    try:
        unread = _UNREAD_DECODER.decode(encoded)
    except UNDECODABLE:
        return
    if unread.version != CONTROL_VERSION:
        raise OtherVersionError(unread)
