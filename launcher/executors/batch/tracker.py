"""What is known of batch jobs, and what follows from the scheduler's list and from end records; no clock, no process.

When a job has ended, and how, is decided in `verdicts`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from melissa_like.launcher.executors.batch.batches import Batch, Job
from melissa_like.launcher.executors.batch.folder import EndRecord, Made
from melissa_like.launcher.executors.batch.room import Room
from melissa_like.launcher.executors.batch.scheduler import Answer, Fate, Listed, Phase, Submission, read_tag
from melissa_like.launcher.executors.batch.verdicts import canceled, refused, verdict
from melissa_like.launcher.executors.interface import JobState, JobUpdate

__all__ = ["Tracker"]

#: The list may not show a submission for so long after it was accepted, or after nobody knew whether it was.
_UNKNOWN_S = 60.0
#: A job that will never run, by its scheduler's words, is a refused one when these have not changed for so long.
_NEVER_S = 5.0
_CANCEL_AGAIN_S = 10.0
_SUBMIT_AGAIN_S, _SUBMIT_AGAIN_MOST_S = 5.0, 60.0
#: Submissions after which the list, ends and cancellations have their turn again.
_MOST_AT_ONCE = 20
#: A refusal for now is one for ever when it has lasted so long and nothing of ours is there that would have to end.
_REFUSED_S = 600.0


class Tracker:
    """All jobs of an executor, by submission.

    Args:
        scheduler: its name, for messages.

    Attributes:
        batches: submissions of which a job has not ended, by name.
        updates: what is new; whoever reads them takes them away.
        told_ends: records that were noticed, by name; likewise.
        failed: names of jobs that ran and failed, with submission and place, as what was printed around them may tell
            more; likewise.
    """

    def __init__(self, scheduler: str) -> None:
        self.batches: dict[str, Batch] = {}
        self.updates: list[JobUpdate] = []
        self.told_ends: list[str] = []
        self.failed: dict[str, tuple[str, int]] = {}
        self._scheduler = scheduler
        self._room = Room()

    def knows(self, key: str) -> bool:
        """Whether a job of a submission has not ended."""
        return any(batch.key == key for batch in self.batches.values())

    # -- from the launcher --------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, now: float) -> None:
        """Jobs are to be submitted."""
        batch = Batch(
            key=submission.key,
            study=submission.study,
            submission=submission,
            is_gang=submission.is_gang,
            is_array=submission.is_array,
            since=now,
            submit_at=now,
        )
        for place, spec in enumerate(submission.specs):
            batch.jobs[place] = Job(name=spec.name, place=place, is_alone=submission.is_alone)
        self.batches[batch.name] = batch

    def adopt(self, key: str, study: str, names: Mapping[int, str], entries: Sequence[Listed], made: Made) -> None:
        """Take over the jobs of a submission that another launcher has made.

        Args:
            key: of the submission.
            study: of its tag.
            names: of those that have not ended, by their place.
            entries: of the list.
            made: the submission.
        """
        batch = Batch(
            key=key,
            study=study,
            submission=None,
            is_gang=made.is_gang,
            is_array=not made.is_gang and any(entry.index is not None for entry in entries),
            since=0.0,
            fate=Fate.ACCEPTED,
            job_id=entries[0].job_id,
        )
        batch.listed = {entry.index or 0: entry for entry in entries}
        for place, name in names.items():
            job = Job(name=name, place=place, is_alone=made.is_alone, was_listed=True)
            entry = batch.entry_of(job)
            if entry is not None and entry.phase is not Phase.PENDING:
                job.state = JobState.ACTIVE
            batch.jobs[place] = job
        self.batches[key] = batch

    def cancel(self, key: str, place: int) -> bool:
        """A job is to end, and with it its gang; False: it is not known here."""
        is_known = self.knows(key)
        for batch in [*self.batches.values()]:
            if batch.key == key and (place in batch.jobs or batch.is_gang):
                if place in batch.jobs:
                    batch.jobs[place].canceled = True
                self._drop_if_canceled(batch)
        return is_known

    def _drop_if_canceled(self, batch: Batch) -> None:
        """What is still to be submitted, and of which nothing is wanted any more, is not."""
        if batch.submit_at is not None and all(job.canceled for job in batch.jobs.values()):
            for job in [*batch.jobs.values()]:
                self._end(batch, job, canceled(job))

    # -- from the scheduler -------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Submission]:
        """Takes what is to be submitted now, of an array as much as there is room for; each is answered by `answer`."""
        taken: list[Submission] = []
        for batch in [*self.batches.values()]:
            if batch.submit_at is None or batch.submit_at > now or batch.submission is None:
                continue
            if len(taken) == _MOST_AT_ONCE:
                break
            room = self._room.left(self._num_alive, now)
            if 1 <= room < batch.num_jobs and batch.is_array:
                rest = batch.split(room)
                self.batches[rest.name] = rest
            if batch.num_jobs <= room:
                batch.submit_at = None
                taken.append(batch.submission)
        return taken

    @property
    def _num_alive(self) -> int:
        """Jobs that the scheduler has, or is being given."""
        return sum(batch.num_jobs for batch in self.batches.values() if batch.submit_at is None)

    def answer(self, submission: Submission, answer: Answer, now: float, *, script: str) -> None:
        """The scheduler has answered a submission.

        Args:
            submission: that was due.
            answer: to it.
            now: when it came.
            script: path of the one that was submitted.
        """
        batch = self.batches.get(submission.name)
        if batch is None:
            return
        batch.fate, batch.job_id, batch.submit_at, batch.script = answer.fate, answer.job_id, None, script
        quoted = f"{self._scheduler} refused it: {answer.words} (the script is {script})"
        if answer.fate is Fate.REFUSED:
            self._refuse(batch, quoted, retry=False)
        elif answer.fate is Fate.LATER:
            others = any(b.fate is Fate.ACCEPTED for b in self.batches.values())
            if now - batch.since > _REFUSED_S and not others:
                self._refuse(batch, quoted, retry=True)
                return
            if answer.is_full:
                self._room.refuse(self._num_alive - batch.num_jobs, batch.num_jobs, now)
                batch.submit_at = now
            else:
                batch.submit_at = now + min(_SUBMIT_AGAIN_S * 2**batch.num_refusals, _SUBMIT_AGAIN_MOST_S)
                batch.num_refusals += 1
            self._drop_if_canceled(batch)
            self._explain(batch, quoted)
        else:
            batch.since = now
            if answer.fate is Fate.UNKNOWN:
                self._explain(batch, f"{self._scheduler} has not said whether it takes the job: {answer.words}")

    def take_listed(self, entries: Iterable[Listed], now: float) -> None:
        """The scheduler has listed what it has; what follows for ends is found by `settle`, once records were read."""
        found: defaultdict[str, list[Listed]] = defaultdict(list)
        for entry in entries:
            tag = read_tag(entry.tag)
            found[entry.job_id if tag is None else tag[1]].append(entry)
        for batch in [*self.batches.values()]:
            batch.listed = {entry.index or 0: entry for entry in found.get(batch.key, found.get(batch.job_id, []))}
            own = [listed for job in batch.jobs.values() if (listed := batch.entry_of(job)) is not None]
            if own and not batch.job_id:
                batch.job_id = own[0].job_id
            if batch.fate is Fate.UNKNOWN:
                self._find_out(batch, bool(own), now)
            if batch.fate is Fate.ACCEPTED:
                for job in [*batch.jobs.values()]:
                    self._look_at(batch, job, now)

    def _find_out(self, batch: Batch, is_listed: bool, now: float) -> None:
        """Whether the scheduler has taken what it did not answer."""
        if is_listed:
            batch.fate = Fate.ACCEPTED
        elif now - batch.since > _UNKNOWN_S and batch.submission is not None:
            batch.submit_at = now
            self._drop_if_canceled(batch)

    def _look_at(self, batch: Batch, job: Job, now: float) -> None:
        entry = batch.entry_of(job)
        job.was_listed = job.was_listed or entry is not None
        if entry is None:
            if job.was_listed or job.state is not JobState.QUEUED or now - batch.since > _UNKNOWN_S:
                job.ended_at = now if job.ended_at is None else job.ended_at
        elif entry.phase is Phase.ENDED:
            job.ended_at = now if job.ended_at is None else job.ended_at
        elif entry.phase is Phase.PENDING:
            if job.state is JobState.QUEUED and (entry.words or "pending") != job.told:
                job.told = entry.words or "pending"
                self.updates.append(JobUpdate(name=job.name, state=JobState.QUEUED, message=job.told))
            self._refuse_if_hopeless(batch, job, entry, now)
        else:
            self._activate(job)

    def _refuse_if_hopeless(self, batch: Batch, job: Job, entry: Listed, now: float) -> None:
        if not entry.never_runs:
            job.never_since = None
        elif job.never_since is None:
            job.never_since = now
        elif now - job.never_since >= _NEVER_S and not job.canceled:
            job.canceled = True
            where = f"job {batch.job_id}{f'; the script is {batch.script}' if batch.script else ''}"
            job.refusal = f"{self._scheduler} took it and will never run it: {entry.words} ({where})"

    # -- from the jobs ------------------------------------------------------------------------------------------------

    def take_ends(self, records: Mapping[str, EndRecord], now: float) -> None:
        """End records, by name, of whatever jobs."""
        by_key: defaultdict[str, list[Batch]] = defaultdict(list)
        for batch in self.batches.values():
            by_key[batch.key].append(batch)
        for name, record in records.items():
            key, _, place = name.rpartition(".")
            for batch in by_key.get(key, ()):
                job = batch.jobs.get(int(place)) if place.isdigit() else None
                if job is not None and job.record is None:
                    job.record, job.record_at = record, now
                    batch.fate, batch.submit_at = Fate.ACCEPTED, None

    def settle(self, now: float) -> None:
        """End the jobs of which enough is known now."""
        for batch in [*self.batches.values()]:
            for job in [*batch.jobs.values()]:
                if job.record is not None or job.ended_at is not None:
                    self._settle(batch, job, now)

    def missing_records(self) -> list[str]:
        """Names of the records of jobs that have left the list."""
        return [
            f"{batch.key}.{job.place}"
            for batch in self.batches.values()
            for job in batch.jobs.values()
            if job.ended_at is not None and job.record is None
        ]

    @property
    def awaits_word(self) -> bool:
        """Whether the scheduler's next word decides something."""
        return any(
            job.record is not None or (job.canceled and job.ended_at is None)
            for batch in self.batches.values()
            for job in batch.jobs.values()
        )

    # -- what is to be done -------------------------------------------------------------------------------------------

    def to_cancel(self, now: float) -> list[Listed]:
        """What the scheduler is to end; asked for again when it is still there after a while."""
        wanted: dict[tuple[str, int], Listed] = {}
        for batch in self.batches.values():
            if batch.fate is not Fate.ACCEPTED or not batch.job_id:
                continue
            for job in batch.jobs.values():
                again = job.cancel_sent_at is None or now - job.cancel_sent_at > _CANCEL_AGAIN_S
                if job.canceled and job.ended_at is None and again:
                    job.cancel_sent_at = now
                    index = job.place if batch.is_array else None
                    unlisted = Listed(job_id=batch.job_id, index=index, phase=Phase.PENDING)
                    wanted[batch.job_id, index or 0] = batch.entry_of(job) or unlisted
        return [*wanted.values()]

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def _settle(self, batch: Batch, job: Job, now: float) -> None:
        found = verdict(batch, job, now, self._scheduler)
        if found is None:
            return
        if found.state is JobState.FAILED and found.retry is None:
            self.failed[job.name] = (batch.key, 0 if batch.is_gang else job.place)
        if job.record is not None:
            self._activate(job)
        self._end(batch, job, found)

    def _activate(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            job.state = JobState.ACTIVE
            self.updates.append(JobUpdate(name=job.name, state=JobState.ACTIVE))

    def _explain(self, batch: Batch, why: str) -> None:
        for job in batch.jobs.values():
            if job.told != why:
                job.told = why
                self.updates.append(JobUpdate(name=job.name, state=JobState.QUEUED, message=why))

    def _refuse(self, batch: Batch, why: str, *, retry: bool) -> None:
        for job in [*batch.jobs.values()]:
            self._end(batch, job, canceled(job) if job.canceled else refused(job, why, retry=retry))

    def _end(self, batch: Batch, job: Job, final: JobUpdate) -> None:
        self.updates.append(final)
        if job.record is not None:
            self.told_ends.append(f"{batch.key}.{job.place}")
        del batch.jobs[job.place]
        if not batch.jobs:
            self.batches.pop(batch.name, None)
