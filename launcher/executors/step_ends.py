"""How a job has ended whose `srun` has."""

import signal

from melissa_like.launcher.executors.interface import JobState, JobUpdate
from melissa_like.launcher.executors.step_words import first_end, node_failure, refusal

__all__ = ["end_of"]

#: As a shell, `srun` exits with this and the number of the signal that has killed a task.
_SIGNALED = 128


def end_of(
    job: str, srun: JobUpdate, *, canceled: bool, was_active: bool, first_words: str, last_words: str
) -> JobUpdate:
    """The final update of a job.

    Args:
        job: its name.
        srun: the final update of its `srun`.
        canceled: its end was asked for.
        was_active: its step was seen, so that it was not refused.
        first_words: what it had printed first, `srun` included.
        last_words: and last.
    """
    code = srun.exit_code
    if canceled:
        return JobUpdate(name=job, state=JobState.CANCELED, exit_code=_own(code), message="canceled")
    if lost := node_failure(last_words):  # then `srun` may exit with 0
        return JobUpdate(name=job, state=JobState.FAILED, message=f"node failure: {lost}", by_machine=True)
    if code == 0:
        return JobUpdate(name=job, state=JobState.COMPLETED, exit_code=0, message="exit code 0")
    refused = None if was_active else refusal(first_words)
    if refused is not None:
        reason, may_pass = refused
        return JobUpdate(name=job, state=JobState.FAILED, message=f"srun refuses job {job!r}: {reason}", retry=may_pass)
    if code is None:
        message = srun.message if srun.state is JobState.FAILED else "canceled"
        return JobUpdate(name=job, state=JobState.FAILED, message=f"its srun was {message}")
    message = first_end(last_words)
    if message.startswith("exit code"):
        code = int(message.split()[-1])
    elif message or _own(code) is None:
        killed = message or f"killed by {signal.Signals(code - _SIGNALED).name}"
        return JobUpdate(name=job, state=JobState.FAILED, message=killed)
    return JobUpdate(name=job, state=JobState.FAILED, exit_code=code, message=f"exit code {code}")


def _own(code: int | None) -> int | None:
    """The exit code of the job itself; None where it was killed."""
    if code is None or code - _SIGNALED in {number.value for number in signal.Signals}:
        return None
    return code
