"""What is known of jobs that have not ended, by submission."""

from dataclasses import dataclass, field, replace

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
    """A submission, or a part of one, of which a job has not ended.

    Attributes:
        key: of the submission.
        submission: itself; None: another launcher has made it.
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

    @property
    def name(self) -> str:
        """No other has it."""
        return self.key if self.submission is None else self.submission.name

    @property
    def num_jobs(self) -> int:
        """As the scheduler counts them: a gang is one."""
        return 1 if self.is_gang else len(self.jobs)

    def split(self, num: int) -> "Batch":
        """Keep the first elements of an array that was not submitted yet, and return the others."""
        assert self.submission is not None
        assert self.submission.array_from is not None
        whole, border = self.submission, self.submission.array_from + num
        self.submission = replace(whole, specs=whole.specs[:num])
        rest = replace(self, submission=replace(whole, specs=whole.specs[num:], array_from=border), listed={})
        rest.jobs = {place: job for place, job in self.jobs.items() if place >= border}
        self.jobs = {place: job for place, job in self.jobs.items() if place < border}
        return rest

    def entry_of(self, job: Job) -> Listed | None:
        """What the list says of a job."""
        return self.listed.get(0 if self.is_gang else job.place)
