"""What an earlier launcher has left is ended, and nothing else is waited for."""

from collections.abc import Iterator

import pytest

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import FoundJob, JobState, JobUpdate
from melissa_like.launcher.remnants import end_remnants

ACTIVE, QUEUED = JobState.ACTIVE, JobState.QUEUED


class Left:
    """An executor that finds jobs, and tells of their ends one by one."""

    def __init__(self, jobs: dict[str, JobState], ends: list[JobUpdate]) -> None:
        self._jobs = jobs
        self._ends: Iterator[JobUpdate] = iter(ends)
        self.canceled: list[str] = []

    def find(self, study: str) -> tuple[FoundJob, ...]:
        assert study == "study"
        return tuple(FoundJob(name=name, handle=f"h-{name}", state=state) for name, state in self._jobs.items())

    def cancel(self, handle: str) -> None:
        self.canceled.append(handle)

    def poll(self) -> tuple[JobUpdate, ...]:
        return tuple(update for update in (next(self._ends, None),) if update is not None)


def ended(name: str) -> JobUpdate:
    return JobUpdate(name=name, state=JobState.CANCELED)


def end(left: Left, timeout_s: float = 10.0) -> dict[str, str]:
    return end_remnants(left, "study", may_stay=["job-0002"], wait=lambda: None, timeout_s=timeout_s)  # type: ignore[arg-type]


def test_all_that_runs_is_canceled_and_awaited_and_what_is_queued_and_wanted_stays() -> None:
    jobs = {"server-0": ACTIVE, "job-0001": ACTIVE, "job-0002": QUEUED, "job-0003": QUEUED}
    running = JobUpdate(name="server-0", state=ACTIVE)
    left = Left(jobs, [running, ended("job-0003"), ended("server-0"), ended("job-0001")])
    assert end(left) == {"job-0002": "h-job-0002"}
    assert left.canceled == ["h-server-0", "h-job-0001", "h-job-0003"]


def test_a_queued_job_that_ends_meanwhile_does_not_stay() -> None:
    left = Left({"job-0001": ACTIVE, "job-0002": QUEUED}, [ended("job-0002"), ended("job-0001")])
    assert end(left) == {}


def test_what_cannot_be_ended_is_named() -> None:
    with pytest.raises(DeadlineExceededError, match="job-0001, server-0 of the launcher before could not be ended"):
        end(Left({"server-0": ACTIVE, "job-0001": ACTIVE}, []), timeout_s=0.0)


def test_nothing_is_left() -> None:
    assert end(Left({}, [])) == {}
