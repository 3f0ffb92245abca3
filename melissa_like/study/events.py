"""What can happen to a study: the input of `StudyState.handle`, and the lines of the journal.

What a peer says is one event, `Said`, whatever it says; the others are about jobs, parameters, clocks and the user.
"""

from typing import TypeAlias

import msgspec

from melissa_like.protocol.control import Blocked, ControlMessage
from melissa_like.records import Address, ClientRank, Purpose, ServerRank
from melissa_like.study.settings import StudySettings

__all__ = [
    "Event",
    "Interrupted",
    "JobEnded",
    "JobStarted",
    "JobsSubmitted",
    "LauncherFailed",
    "ParametersDrawn",
    "Resumed",
    "Said",
    "SamplingFailed",
    "ServerEnded",
    "ServerQueued",
    "ServerSilent",
    "ServerStarted",
    "StudyStarted",
    "Tick",
    "is_journaled",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """Base of the events: the class name is the tag in the journal. As the messages, they are never in a cycle."""


class StudyStarted(_Event, frozen=True, kw_only=True):
    """The first launcher runs: server ranks and jobs may be started.

    Attributes:
        settings: that the state was made with, so that a journal can be replayed without the configuration.
    """

    settings: StudySettings


class Resumed(_Event, frozen=True, kw_only=True):
    """Another launcher goes on with the study: jobs and server ranks of the one before are gone.

    Attributes:
        settings: from now on.
        queued: jobs that the scheduler still has and has not started, with their handles, by name; they stay.
    """

    settings: StudySettings
    queued: dict[str, str] = {}


class Said(_Event, frozen=True, kw_only=True):
    """A peer said something; not examined yet, it may come from anybody who has the study's secret."""

    address: Address
    message: ControlMessage


class JobsSubmitted(_Event, frozen=True, kw_only=True):
    """The scheduler has taken jobs and server ranks: its durable handles, by name."""

    handles: dict[str, str]


class JobStarted(_Event, frozen=True, kw_only=True):
    """The scheduler runs the job."""

    job: str


class JobEnded(_Event, frozen=True, kw_only=True):
    """No process of the job is left, or the scheduler refused it.

    Attributes:
        retry: False: the scheduler will refuse whatever is like it, too.
        by_machine: its node failed, it was preempted, or somebody canceled it: no fault of the job.
        out_of_time: it was ended at the scheduler's time limit.
    """

    job: str
    exit_code: int | None
    message: str
    log_tail: str = ""
    retry: bool | None = None
    by_machine: bool = False
    out_of_time: bool = False


class ServerQueued(_Event, frozen=True, kw_only=True):
    """A server rank waits in the scheduler's queue, where nobody can say for how long."""

    address: ServerRank


class ServerStarted(_Event, frozen=True, kw_only=True):
    """The scheduler runs a server rank that has waited."""

    address: ServerRank


class ServerEnded(_Event, frozen=True, kw_only=True):
    """No process of a server rank is left, or the scheduler refused it.

    Attributes:
        retry: False: the scheduler will refuse the next one, too.
        by_machine: its node failed, it was preempted, or somebody canceled it: no fault of its own.
    """

    address: ServerRank
    message: str
    retry: bool | None = None
    by_machine: bool = False


class ServerSilent(_Event, frozen=True, kw_only=True):
    """A server rank has reported nothing for too long; its process may still be there, stopped or hung."""

    address: ServerRank
    message: str


class ParametersDrawn(_Event, frozen=True, kw_only=True):
    """The sampler's answer, one row per simulation; fewer than were asked for close the list."""

    purpose: Purpose
    parameters: tuple[tuple[float, ...], ...]


class SamplingFailed(_Event, frozen=True, kw_only=True):
    """The sampler raised, or gave what are no parameters."""

    message: str


class Interrupted(_Event, frozen=True, kw_only=True):
    """The user, or a signal, ends the study."""

    reason: str


class LauncherFailed(_Event, frozen=True, kw_only=True):
    """The launcher cannot go on as it should, as without room for its files."""

    message: str


class Tick(_Event, frozen=True, kw_only=True):
    """Nothing but time has passed."""


Event: TypeAlias = (
    StudyStarted
    | Resumed
    | Said
    | JobsSubmitted
    | JobStarted
    | JobEnded
    | ServerQueued
    | ServerStarted
    | ServerEnded
    | ServerSilent
    | ParametersDrawn
    | SamplingFailed
    | Interrupted
    | LauncherFailed
    | Tick
)


def is_journaled(event: Event) -> bool:
    """Whether an event can change the state: the question of a blocked rank is only answered.

    A thousand ranks under legitimate back-pressure ask five hundred times a second.
    """
    is_question = (
        isinstance(event, Said) and isinstance(event.message, Blocked) and isinstance(event.address, ClientRank)
    )
    return not is_question
