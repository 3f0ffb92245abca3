"""What a study wants done: the output of `StudyState.handle`; the launcher's shell carries it out."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from melissa_like.records import Purpose

__all__ = [
    "AnnounceReceptionOver",
    "AnnounceSimulationOver",
    "Assign",
    "CancelJob",
    "Command",
    "EndStudy",
    "FinishJob",
    "Outcome",
    "RefuseJob",
    "ReleaseRank",
    "StartServer",
    "StopJob",
    "SubmitJob",
    "WelcomeJob",
]

Outcome: TypeAlias = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServer:
    """Start all server ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """Submit a solver job under this name."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """End a job's processes."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeJob:
    """Tell rank `rank` of a job where its fields go."""

    job: str
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseJob:
    """Tell a job that it is not part of the study."""

    job: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Give a job its next simulation."""

    job: str
    simulation: int
    attempt: int
    purpose: Purpose
    parameters: tuple[float, ...]
    delivered_steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishJob:
    """Tell a job that no simulation is left for it."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob:
    """Tell a job to end at once."""

    job: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRank:
    """Tell one blocked rank of a job that it must end."""

    job: str
    rank: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceSimulationOver:
    """Tell the server ranks that nothing more comes of a simulation, and how many training samples that costs."""

    simulation: int
    samples_given_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceReceptionOver:
    """Tell the server ranks to drain their buffers."""

    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStudy:
    """The verdict: end every process and write the report."""

    outcome: Outcome
    reason: str


Command: TypeAlias = (
    StartServer
    | SubmitJob
    | CancelJob
    | WelcomeJob
    | RefuseJob
    | Assign
    | FinishJob
    | StopJob
    | ReleaseRank
    | AnnounceSimulationOver
    | AnnounceReceptionOver
    | EndStudy
)
