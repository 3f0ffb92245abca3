"""What is timed in a study, and for how long: starts, simulations that are silent, jobs that owe their end.

Looking at everything that is timed takes a scan; so the earliest possible end is kept, which may be early and is never
late: what has progressed since is only looked at when its time would have run out. While any server rank's put waits
the clocks of progress stand still, because back-pressure is not a failure.
"""

import math

from melissa_like.study.attempts import Attempt
from melissa_like.study.jobs import Job, JobPhase, Jobs
from melissa_like.study.ledger import Ledger
from melissa_like.study.server import ServerLife
from melissa_like.study.settings import StudySettings

__all__ = ["Clocks"]

#: A rank that is killed makes the others fail in the same moment; its end is known within a second or two.
_BLAME_S = 3.0


class Clocks:
    """Reads jobs, ledger and server; changes nothing but the time of its next look.

    Attributes:
        look_at: when something may have run out; infinity if nothing is timed.
    """

    def __init__(self, settings: StudySettings, server: ServerLife, jobs: Jobs, ledger: Ledger) -> None:
        self._settings = settings
        self._server = server
        self._jobs = jobs
        self._ledger = ledger
        self.look_at = math.inf

    @property
    def next_deadline(self) -> float | None:
        """When the next look is due; None if nothing is timed."""
        return None if self.look_at == math.inf else self.look_at

    def start(self, now: float, seconds: float) -> None:
        """Something is timed from now on."""
        if now + seconds < self.look_at:
            self.look_at = now + seconds

    def look_again(self) -> None:
        """Find the earliest end, by a scan."""
        times = [job.since + self._settings.start_timeout_s for job in self._jobs.starting]
        if self._server.started_at is not None and not self._server.ready:
            times.append(self._server.started_at + self._settings.start_timeout_s)
        if self._server.paused_until is not None:
            times.append(self._server.paused_until)
        if self._server.failed_at is not None:
            times.append(self._server.failed_at + _BLAME_S)
        if not self._server.pressed:
            times += [a.progressed_at + self.patience(a) for a in self._ledger.in_progress.values()]
            times += [job.since + self.leave(job) for job in self._jobs.idle]
        self.look_at = min(times, default=math.inf)

    def server_is_late(self, now: float) -> bool:
        """Whether the server ranks are not ready in time."""
        started_at = self._server.started_at
        return started_at is not None and not self._server.ready and now >= started_at + self._settings.start_timeout_s

    def servers_are_due(self, now: float) -> bool:
        """Whether the pause before the next server ranks is over."""
        return self._server.paused_until is not None and now >= self._server.paused_until

    def failure_is_clear(self, now: float) -> bool:
        """Whether a server rank has failed, and the end of another that was lost before would be known by now."""
        failed_at = self._server.failed_at
        return failed_at is not None and now >= failed_at + _BLAME_S

    def late_starts(self, now: float) -> list[Job]:
        """Jobs that run and did not say hello in time."""
        return [job for job in self._jobs.starting if now >= job.since + self._settings.start_timeout_s]

    def silent_attempts(self, now: float) -> list[Attempt]:
        """Attempts of which nothing has arrived for too long."""
        if self._server.pressed:
            return []
        return [a for a in self._ledger.in_progress.values() if now >= a.progressed_at + self.patience(a)]

    def idle_jobs(self, now: float) -> list[Job]:
        """Jobs that have neither asked nor ended for too long."""
        return [] if self._server.pressed else [job for job in self._jobs.idle if now >= job.since + self.leave(job)]

    def patience(self, attempt: Attempt) -> float:
        """How long an attempt may be silent."""
        sent = attempt.parts_sent is not None
        return self._settings.delivery_timeout_s if sent else self._settings.step_timeout_s

    def leave(self, job: Job) -> float:
        """How long an idle job may keep its place."""
        failing = job.phase is JobPhase.FAILING
        return self._settings.delivery_timeout_s if failing else self._settings.step_timeout_s

    def forgive(self, now: float) -> None:
        """Back-pressure has ended: everything that it may have held begins its time anew."""
        for attempt in self._ledger.in_progress.values():
            attempt.progressed_at = now
        for job in self._jobs.idle:
            job.since = now
        self.look_again()
