"""The job of a Slurm cluster in which the launcher itself runs: when it ends, and how it is run again."""

import os
import re
import subprocess
from collections.abc import Mapping

__all__ = ["is_batch_job", "own_job", "requeue", "seconds_left", "time_left_s"]

_COMMAND_S = 30.0


def own_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id of the job that this process is in, or whose allocation it was given; None: there is none."""
    return environment.get("SLURM_JOB_ID") or None


def is_batch_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started by a script that was given to `sbatch`, so that it can be run again."""
    return own_job(environment) is not None and environment.get("ENVIRONMENT") == "BATCH"


def time_left_s(job: str) -> float | None:
    """Seconds until Slurm ends a job; None if that has no limit, or if Slurm does not answer.

    Blocks for half a minute at most.
    """
    try:
        ran = subprocess.run(
            ("squeue", "--noheader", f"--jobs={job}", "--format=%L"),
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return seconds_left(ran.stdout.split("\n")[0])


def seconds_left(text: str) -> float | None:
    """What Slurm writes for a time that is left: `[days-][[hours:]minutes:]seconds`; None if it is not a time."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds


def requeue(job: str) -> str:
    """Have Slurm run this job's script again, from its beginning; it ends this process.

    Returns:
        Slurm's words, if it does not.
    """
    try:
        ran = subprocess.run(
            ("scontrol", "requeue", job), capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (
        (ran.stderr or ran.stdout).strip() or f"scontrol ended with exit code {ran.returncode}"
        if ran.returncode
        else ""
    )
