"""What a study wants done: the output of `StudyState.handle`; the launcher's shell carries it out."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from melissa_like.protocol.control import ControlMessage
from melissa_like.records import Address, Purpose

__all__ = [
    "AskParameters",
    "CancelJob",
    "Command",
    "EndServers",
    "EndStudy",
    "Outcome",
    "StartServers",
    "SubmitJobs",
    "Tell",
]

Outcome: TypeAlias = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServers:
    """Start all server ranks; nothing of an earlier incarnation is left."""

    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndServers:
    """End what is left of an incarnation of the server ranks."""

    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJobs:
    """Submit solver jobs under these names."""

    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """End a job's processes."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Say something to a peer."""

    address: Address
    message: ControlMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class AskParameters:
    """Ask the sampler for the parameters of the next simulations; answered by `ParametersDrawn`.

    Attributes:
        first: number of the first of them.
        num: how many.
    """

    purpose: Purpose
    first: int
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStudy:
    """The verdict: end every process and write the report."""

    outcome: Outcome
    reason: str


Command: TypeAlias = StartServers | EndServers | SubmitJobs | CancelJob | Tell | AskParameters | EndStudy
