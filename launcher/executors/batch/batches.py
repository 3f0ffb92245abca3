"""What is known of jobs that have not ended, by submission."""

from dataclasses import dataclass, field

from melissa_like.launcher.executors.batch.folder import EndRecord
from melissa_like.launcher.executors.batch.scheduler import Fate, Listed, Submission
from melissa_like.launcher.executors.interface import JobState

__all__ = ["Batch", "Job"]


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A job that has not ended.

    Attributes:
        place: in its submission.
        is_alone: its starter sees all of its processes, so that its record tells the end of all.
        ended_at: when the list first said that it has ended, or did not show it any more.
        never_since: when the list first said that it will never run.
        refusal: why it is ended, though nobody asked for it: it would wait for ever.
    """

    name: str
    place: int
    is_alone: bool
    state: JobState = JobState.QUEUED
    told: str = ""
    was_listed: bool = False
    canceled: bool = False
    cancel_sent_at: float | None = None
    record: EndRecord | None = None
    record_at: float = 0.0
    ended_at: float | None = None
    never_since: float | None = None
    refusal: str = ""


@dataclass(slots=True, eq=False, kw_only=True)
class Batch:
    """A submission of which a job has not ended.

    Attributes:
        since: when it was accepted, or was to be.
        fate: None before it was submitted.
        submit_at: when it is to be submitted; None: it was, or is being submitted now.
        script: path of what was submitted; empty for what another launcher has submitted.
        jobs: those that have not ended, by their place.
        listed: what the newest list says, by index.
    """

    key: str
    study: str
    submission: Submission | None
    is_gang: bool = False
    is_array: bool = False
    since: float
    fate: Fate | None = None
    submit_at: float | None = None
    num_refusals: int = 0
    job_id: str = ""
    script: str = ""
    jobs: dict[int, Job] = field(default_factory=dict)
    listed: dict[int, Listed] = field(default_factory=dict)

    def entry_of(self, job: Job) -> Listed | None:
        """What the list says of a job."""
        return self.listed.get(0 if self.is_gang else job.place)
