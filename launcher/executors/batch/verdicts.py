"""Whether a job has ended, and how, from what two witnesses say; pure.

Neither witness is enough. Its end record comes at once and tells the exit code, but not why
somebody ended it, nor whether ranks on other nodes are gone; and what was killed with its node leaves none. The
scheduler's list tells these, but late, sometimes not at all, and not at first. So:

- what exited with 0 has ended, by its record, and so has a rank of a gang, however it did;
- of a job that failed, was killed or asked to end, the list must agree that it no longer runs. Then its words are told
  as well: mpiexec exits in the same moment when a job is canceled;
- what has left the list without a record was ended from outside, and is believed so when the record has had time to
  appear on a shared file system;
- what the list does not show yet is queued; what a list that could not be had does not show is as it was.
"""

from signal import Signals

from melissa_like.launcher.executors.batch.batches import Batch, Job
from melissa_like.launcher.executors.batch.folder import EndRecord
from melissa_like.launcher.executors.batch.scheduler import Listed, Phase
from melissa_like.launcher.executors.interface import JobState, JobUpdate

__all__ = ["canceled", "refused", "verdict"]

#: A record may be visible here so much later than the end of its job in the list.
_RECORD_S = 10.0
#: What has exited, and a single process in any case, has ended, though the list says for so long that its job runs.
_CONFIRM_S = 10.0


def verdict(batch: Batch, job: Job, now: float, scheduler: str) -> JobUpdate | None:
    """The final update of a job; None: it has not ended, as far as is known.

    Args:
        batch: of the job, with what the list says.
        job: with its record, if it has come.
        now: the time.
        scheduler: its name.
    """
    record, entry = job.record, batch.entry_of(job)
    if not (_is_awaited_in_vain(job, entry, now) if record is None else _has_ended(batch, job, record, now)):
        return None
    if job.refusal:
        return refused(job, job.refusal, retry=False)
    if job.canceled:
        return canceled(job)
    return (
        _without_record(batch, job, entry, scheduler) if record is None else _by_record(job, record, entry, scheduler)
    )


def canceled(job: Job) -> JobUpdate:
    """The final update of a job whose end the launcher wanted."""
    code = None if job.record is None else job.record.exit_code
    return JobUpdate(name=job.name, state=JobState.CANCELED, exit_code=code, message="canceled")


def refused(job: Job, why: str, *, retry: bool) -> JobUpdate:
    """The only update of a job that never ran."""
    return JobUpdate(name=job.name, state=JobState.FAILED, message=why, retry=retry)


def _has_ended(batch: Batch, job: Job, record: EndRecord, now: float) -> bool:
    if job.ended_at is not None or record.failure:
        return True
    # A rank of a gang that fails is no end of its batch job, of which the list could tell.
    if not record.was_asked and (record.exit_code == 0 or batch.is_gang):
        return True
    if now - job.record_at >= _CONFIRM_S:
        return job.is_alone or record.by_itself
    return job.canceled and job.is_alone


def _is_awaited_in_vain(job: Job, entry: Listed | None, now: float) -> bool:
    """Whether a job has left the list, and no record of it will come."""
    none_comes = entry is not None and (entry.by_machine or entry.never_runs)
    patience = 0.0 if job.canceled or none_comes else _RECORD_S
    return job.ended_at is not None and now - job.ended_at >= patience


def _by_record(job: Job, record: EndRecord, entry: Listed | None, scheduler: str) -> JobUpdate:
    code, message, by_machine, out_of_time = record.exit_code, _how(record), False, False
    if code != 0 and entry is not None and entry.phase is Phase.ENDED and entry.says_more:
        message += f"; {scheduler} says {entry.words} (job {entry.number})"
        by_machine, out_of_time = entry.by_machine, entry.out_of_time
    state = JobState.COMPLETED if code == 0 else JobState.FAILED
    return JobUpdate(
        name=job.name,
        state=state,
        exit_code=code,
        message=message,
        by_machine=by_machine,
        out_of_time=out_of_time,
    )


def _without_record(batch: Batch, job: Job, entry: Listed | None, scheduler: str) -> JobUpdate:
    number = batch.job_id if entry is None else entry.number
    which = f"job {number}" if number else "the job"
    if entry is None:
        why = f"ended without an end record, and {scheduler} does not list {which} any more"
        return JobUpdate(name=job.name, state=JobState.FAILED, message=why)
    if entry.never_runs:
        return refused(job, f"{scheduler} took it and would not run it: {entry.words} ({which})", retry=False)
    if entry.exit_code == 0 and not batch.is_gang:
        return JobUpdate(name=job.name, state=JobState.COMPLETED, exit_code=0, message="exit code 0")
    return JobUpdate(
        name=job.name,
        state=JobState.FAILED,
        exit_code=entry.exit_code,
        message=f"ended without an end record; {scheduler} says {entry.words} ({which})",
        by_machine=entry.by_machine,
        out_of_time=entry.out_of_time,
    )


def _how(record: EndRecord) -> str:
    if record.failure:
        return f"could not be started {record.failure}"
    if record.signal is None:
        return f"exit code {record.exit_code}"
    names = {number.value: number.name for number in Signals}
    return f"killed by {names.get(record.signal, f'signal {record.signal}')}"
