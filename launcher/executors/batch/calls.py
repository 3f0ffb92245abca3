"""One command of a scheduler, run and waited for."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from melissa_like.errors import SchedulerError

__all__ = ["Call", "environment_for", "run_command"]

#: Of what a launcher inherits that runs inside a batch job itself: how that job was submitted, and how times are shown.
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str


def environment_for(inherited: Mapping[str, str]) -> dict[str, str]:
    """For commands of the scheduler, and for the jobs, to which they hand it on.

    Without what describes the batch job in which the launcher itself may run: its jobs are no steps of it.
    """
    return {name: value for name, value in inherited.items() if not name.startswith("SLURM_") or name in _KEPT}


def run_command(command: Sequence[str], timeout_s: float) -> Call:
    """Run a command and block until it has ended.

    Raises:
        OSError: it cannot be run.
        SchedulerError: it did not end in time and was killed, with what it had started.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_for(os.environ),
        start_new_session=True,  # an interrupt on the terminal is not for it
        text=True,
        errors="replace",
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise SchedulerError(f"{command[0]} did not answer within {timeout_s:g} s") from None
    return Call(code=process.returncode, stdout=stdout, stderr=stderr)
