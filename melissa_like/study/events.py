"""What can happen to a study: the input of `StudyState.handle`, and the lines of the journal."""

from typing import TypeAlias

import msgspec

from melissa_like.protocol.control import TrainingEnd

__all__ = [
    "Delivered",
    "Event",
    "Interrupted",
    "JobBlocked",
    "JobEnded",
    "JobRequested",
    "JobSaidHello",
    "JobStarted",
    "PartRejected",
    "PressureChanged",
    "ProtocolBroken",
    "ServerEnded",
    "ServerReady",
    "ServerTrained",
    "SimulationFailed",
    "SimulationSent",
    "StudyStarted",
    "Tick",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of the events: the class name is the tag in the journal."""


class StudyStarted(_Event, frozen=True, kw_only=True):
    """The launcher runs: server ranks and jobs may be started."""


class ServerReady(_Event, frozen=True, kw_only=True):
    """A server rank receives."""

    rank: int


class ServerEnded(_Event, frozen=True, kw_only=True):
    """A server rank failed, or its process ended before its training did."""

    rank: int
    message: str


class ServerTrained(_Event, frozen=True, kw_only=True):
    """The training of a server rank has come to its end."""

    rank: int
    end: TrainingEnd


class JobStarted(_Event, frozen=True, kw_only=True):
    """The scheduler runs the job."""

    job: str


class JobEnded(_Event, frozen=True, kw_only=True):
    """No process of the job is left."""

    job: str
    exit_code: int | None
    message: str
    log_tail: str = ""


class JobSaidHello(_Event, frozen=True, kw_only=True):
    """Rank 0 of a job has connected."""

    job: str
    num_ranks: int


class JobRequested(_Event, frozen=True, kw_only=True):
    """A job is ready for a simulation."""

    job: str


class JobBlocked(_Event, frozen=True, kw_only=True):
    """A rank of a job whose send is blocked asks whether the study lives."""

    job: str
    rank: int


class SimulationSent(_Event, frozen=True, kw_only=True):
    """Goodbye: all steps of a simulation were sent, so many parts to each server rank."""

    job: str
    simulation: int
    attempt: int
    num_steps: int
    parts_sent: tuple[int, ...]


class SimulationFailed(_Event, frozen=True, kw_only=True):
    """The solver raised."""

    job: str
    simulation: int
    attempt: int
    message: str
    breaks_contract: bool = False


class Delivered(_Event, frozen=True, kw_only=True):
    """A server rank has received parts, and completed steps, of an attempt."""

    rank: int
    simulation: int
    attempt: int
    steps: tuple[int, ...]
    num_parts: int


class PartRejected(_Event, frozen=True, kw_only=True):
    """A server rank refused a part so that its attempt cannot complete."""

    rank: int
    simulation: int
    attempt: int
    message: str
    breaks_contract: bool


class PressureChanged(_Event, frozen=True, kw_only=True):
    """A put waits, or no longer waits, on a server rank."""

    rank: int
    put_waits: bool


class ProtocolBroken(_Event, frozen=True, kw_only=True):
    """A client said what the protocol does not allow."""

    message: str


class Interrupted(_Event, frozen=True, kw_only=True):
    """The user, or a signal, ends the study."""

    reason: str


class Tick(_Event, frozen=True, kw_only=True):
    """Nothing but time has passed."""


Event: TypeAlias = (
    StudyStarted
    | ServerReady
    | ServerEnded
    | ServerTrained
    | JobStarted
    | JobEnded
    | JobSaidHello
    | JobRequested
    | JobBlocked
    | SimulationSent
    | SimulationFailed
    | Delivered
    | PartRejected
    | PressureChanged
    | ProtocolBroken
    | Interrupted
    | Tick
)
