"""The control messages: typed, versioned, msgpack by way of msgspec; never pickle.

One class per thing said. Who says it is the peer's address on the socket, so no message repeats it.

| file | what |
|---|---|
| `jobs.py`, `servers.py`, `users.py` | what the launcher and these say to each other |
| `envelope.py` | carries one message, with the study's identity, a number and an acknowledgement |
| `message.py` | what all have in common, and `Acknowledge` |
"""

from melissa_like.protocol.control.envelope import (
    CONTROL_VERSION,
    ControlMessage,
    Envelope,
    OtherVersionError,
    decode_envelope,
    encode_envelope,
)
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
    WireField,
)
from melissa_like.protocol.control.message import Acknowledge
from melissa_like.protocol.control.servers import (
    Checked,
    Checkpointed,
    Delivery,
    EndIsNear,
    HeldOutOver,
    HeldSteps,
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
    TrainingEnd,
    UnfitSample,
)
from melissa_like.protocol.control.users import Scale, Scaled

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
    "Followed",
    "Goodbye",
    "HeldOutOver",
    "HeldSteps",
    "Hello",
    "ListClosed",
    "Losses",
    "Metrics",
    "OtherVersionError",
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
