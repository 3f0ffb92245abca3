"""The solver jobs of a study that are alive: what each is doing, and whether another should be submitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import msgspec

__all__ = ["Job", "JobPhase", "Jobs", "JobsSnapshot"]


class JobPhase(StrEnum):
    """Where a job stands, seen from the study."""

    SUBMITTED = "submitted"  #: with the scheduler
    STARTING = "starting"  #: running, no hello yet
    GREETED = "greeted"  #: said hello, has no simulation
    BUSY = "busy"
    FINISHING = "finishing"  #: no simulation is left for it; what it sent may still be on its way out of it
    FAILING = "failing"  #: said that its simulation failed, and ends by itself
    ENDING = "ending"  #: told to stop, or canceled


@dataclass(slots=True, kw_only=True)
class Job:
    """One solver job.

    Attributes:
        since: when it came to its phase.
        handle: the scheduler's name for it, good after a restart of the launcher too; empty before it has one.
        simulation: the one it works on, or the last one.
        had_others: it had worked on others before that one.
        welcomed: its hello was answered; before all server ranks receive it is not.
        requests: it asked for a simulation and has no answer yet.
    """

    name: str
    phase: JobPhase = JobPhase.SUBMITTED
    since: float = 0.0
    handle: str = ""
    simulation: int | None = None
    had_others: bool = False
    welcomed: bool = False
    requests: bool = False

    @property
    def was_useless(self) -> bool:
        """Whether its end now would be a failed start: it was never given a simulation."""
        early = (JobPhase.SUBMITTED, JobPhase.STARTING)
        return self.phase in early or (self.phase is JobPhase.GREETED and self.simulation is None)

    @property
    def ends_early(self) -> bool:
        """Whether its end now would be a failure, with whatever exit code."""
        return self.phase is JobPhase.BUSY or self.was_useless


class JobsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What `Jobs` know."""

    alive: tuple[Job, ...]
    num_submitted: int


class Jobs:
    """The living jobs, by name; those that have ended are forgotten."""

    def __init__(self) -> None:
        self.alive: dict[str, Job] = {}
        self._num_submitted = 0

    def get(self, name: str) -> Job | None:
        """A living job."""
        return self.alive.get(name)

    def submit(self, now: float) -> Job:
        """A new job."""
        self._num_submitted += 1
        job = Job(name=f"job-{self._num_submitted:04d}", since=now)
        self.alive[job.name] = job
        return job

    def resume(self, queued: Mapping[str, str], now: float) -> None:
        """Another launcher goes on: only those are left that the scheduler has not started, with these handles."""
        self.alive = {name: Job(name=name, since=now, handle=handle) for name, handle in queued.items()}

    def snapshot(self) -> JobsSnapshot:
        """All of it, as it is until anything is changed."""
        return JobsSnapshot(alive=tuple(self.alive.values()), num_submitted=self._num_submitted)

    @classmethod
    def from_snapshot(cls, kept: JobsSnapshot) -> Self:
        """The jobs of which a snapshot was taken."""
        made = cls()
        made.alive.update((job.name, job) for job in kept.alive)
        made._num_submitted = kept.num_submitted
        return made

    def end(self, job: Job) -> None:
        """The job's processes are gone."""
        del self.alive[job.name]

    @property
    def names_submitted(self) -> list[str]:
        """Jobs that the scheduler has not started, as far as is known."""
        return [job.name for job in self.alive.values() if job.phase is JobPhase.SUBMITTED]

    @property
    def starting(self) -> list[Job]:
        """Jobs that run and have not said hello."""
        return [job for job in self.alive.values() if job.phase is JobPhase.STARTING]

    @property
    def idle(self) -> list[Job]:
        """Jobs that owe a word or their end, and whose simulation nobody times."""
        waits = (JobPhase.FINISHING, JobPhase.FAILING)
        return [
            job
            for job in self.alive.values()
            if job.phase in waits or (job.phase is JobPhase.GREETED and job.welcomed and not job.requests)
        ]

    @property
    def num_staying(self) -> int:
        """Jobs that will take a simulation, or have one; the others owe nothing but their end."""
        phases = (JobPhase.SUBMITTED, JobPhase.STARTING, JobPhase.GREETED, JobPhase.BUSY)
        return sum(job.phase in phases for job in self.alive.values())

    @property
    def num_uncommitted(self) -> int:
        """Jobs that are free to take a waiting simulation.

        A job that has had one and does not ask for another may be a solver with its own main, which never will.
        """
        free = (JobPhase.SUBMITTED, JobPhase.STARTING)
        return sum(
            job.phase in free or (job.phase is JobPhase.GREETED and (job.simulation is None or job.requests))
            for job in self.alive.values()
        )
