"""What a study wants done: the output of `StudyState.handle`; the launcher's shell carries it out."""

from typing import Literal, TypeAlias

import msgspec

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


class StartServers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Start all server ranks; nothing of an earlier incarnation is left.

    Attributes:
        tried: rank 0 of an earlier incarnation has tried the training for this launcher, and it works.
    """

    incarnation: int
    tried: bool = False


class EndServers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """End what is left of an incarnation of the server ranks."""

    incarnation: int


class SubmitJobs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Submit solver jobs under these names."""

    jobs: tuple[str, ...]


class CancelJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """End a job's processes."""

    job: str


class Tell(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Say something to a peer."""

    address: Address
    message: ControlMessage


class AskParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Ask the sampler for the parameters of the next simulations; answered by `ParametersDrawn`.

    Attributes:
        first: number of the first of them.
        num: how many.
    """

    purpose: Purpose
    first: int
    num: int


class EndStudy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The verdict: end every process and write the report."""

    outcome: Outcome
    reason: str


Command: TypeAlias = StartServers | EndServers | SubmitJobs | CancelJob | Tell | AskParameters | EndStudy
