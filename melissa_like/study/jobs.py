"""The solver jobs of a study: what each is doing, and whether another should be submitted."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Job", "JobPhase", "Jobs"]


class JobPhase(StrEnum):
    """Where a job stands, seen from the study."""

    SUBMITTED = "submitted"  #: with the scheduler
    STARTING = "starting"  #: running, no hello yet
    GREETED = "greeted"  #: said hello, has no simulation
    BUSY = "busy"
    FINISHING = "finishing"  #: no simulation is left for it; what it sent may still be on its way out of it
    FAILING = "failing"  #: said that its simulation failed, and ends by itself
    ENDING = "ending"  #: told to stop, or canceled
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class Job:
    """One solver job.

    Attributes:
        since: when it came to its phase.
        simulation: the one it works on, or the last one.
        welcomed: its hello was answered; before all server ranks receive it is not.
        requests: it asked for a simulation and has no answer yet.
    """

    name: str
    phase: JobPhase = JobPhase.SUBMITTED
    since: float = 0.0
    simulation: int | None = None
    welcomed: bool = False
    requests: bool = False


class Jobs:
    """All jobs, and counts of the living ones that never need a scan."""

    def __init__(self) -> None:
        self._all: dict[str, Job] = {}
        self.alive: dict[str, Job] = {}
        self.failed_starts = 0

    def __len__(self) -> int:
        return len(self._all)

    def get(self, name: str) -> Job | None:
        """A job by its name, dead or alive."""
        return self._all.get(name)

    def submit(self, now: float) -> Job:
        """A new job."""
        job = Job(name=f"job-{len(self._all) + 1:04d}", since=now)
        self._all[job.name] = self.alive[job.name] = job
        return job

    def end(self, job: Job, now: float) -> None:
        """The job's processes are gone."""
        job.phase, job.since = JobPhase.ENDED, now
        self.alive.pop(job.name, None)

    @property
    def idle(self) -> list[Job]:
        """Living jobs that owe a word or their end, and whose simulation nobody times."""
        waits = (JobPhase.FINISHING, JobPhase.FAILING)
        return [
            job
            for job in self.alive.values()
            if job.phase in waits or (job.phase is JobPhase.GREETED and job.welcomed and not job.requests)
        ]

    @property
    def num_uncommitted(self) -> int:
        """Living jobs that are free to take a waiting simulation.

        A job that has had one and does not ask for another may be a solver with its own main, which never will.
        """
        free = (JobPhase.SUBMITTED, JobPhase.STARTING)
        return sum(
            job.phase in free or (job.phase is JobPhase.GREETED and (job.simulation is None or job.requests))
            for job in self.alive.values()
        )
