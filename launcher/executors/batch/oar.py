"""OAR: its script, and the formats of oarsub, oarstat and oardel.

After the documentation of OAR 2.5 (oarsub(1), oarstat(1), oardel(1), oarsh(1)); not run on a real one.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from melissa_like.errors import SchedulerError
from melissa_like.launcher.executors.batch.gang import start_each
from melissa_like.launcher.executors.batch.scheduler import (
    Answer,
    Fate,
    Listed,
    Phase,
    Start,
    Submission,
    require_answer,
)

__all__ = ["Oar"]

_JOB_ID = re.compile(r"^OAR_JOB_ID=(\d+)\s*$", re.MULTILINE)
_LATER = re.compile(r"cannot connect|connection refused|timed out|try again|too many jobs|quota", re.IGNORECASE)
_PHASES = {
    **dict.fromkeys(("Running", "Suspended", "Resuming"), Phase.RUNNING),
    "Finishing": Phase.ENDING,
    **dict.fromkeys(("Terminated", "Error", "toError"), Phase.ENDED),
}


class Oar:
    """Batch jobs of OAR.

    The tag of a job is its name. OAR lists a job only while it waits or runs, so how it ended its end record tells. Its
    environment is that of a login and what the settings of the site and of the solver say.

    Args:
        commands: folder of oarsub, oarstat, oardel and oarsh, where they are not on PATH.
    """

    name = "OAR"
    array_limit = 1
    accepts = frozenset(
        (
            *("partition", "account", "constraint", "time", "nodes", "cpus_per_task", "exclusive"),
            *("setup", "environment", "container", "python", "options"),
        )
    )

    def __init__(self, *, commands: str = "") -> None:
        self._commands = commands

    def script(self, submission: Submission, start: Start) -> str:
        """Directives, the site's lines, and the start: of a gang by one oarsh per place."""
        directives = [f"#OAR {option}" for option in self._options(submission)]
        lines: tuple[str, ...] = (f"exec {shlex.join(start.at(0))}",)
        if submission.is_gang:
            num = len(submission.specs)
            places = (f"${{hosts[{i} * ${{#hosts[@]}} / {num}]}}" for i in range(num))
            oarsh = self._command("oarsh")
            commands = ((oarsh, place, *start.at(i)) for i, place in enumerate(places))
            lines = ('mapfile -t hosts < "$OAR_NODEFILE"', *start_each(commands))
        return "\n".join(("#!/bin/bash", *directives, "", *submission.site.setup, *lines, ""))

    def _options(self, submission: Submission) -> Iterator[str]:
        site, output = submission.site, submission.output.format(index=0)
        yield f"--name={submission.tag}"
        yield f"--stdout={output}"
        yield f"--stderr={output}"
        yield f"--directory={submission.specs[0].working_directory.absolute()}"
        yield f"-l {_resources(submission)}"
        if site.partition:
            yield f"-q {site.partition}"
        if site.account:
            yield f"--project={site.account}"
        if site.constraint:
            yield f"-p {shlex.quote(site.constraint)}"
        yield from site.options

    def submit(self, script: Path) -> tuple[str, ...]:
        """By `oarsub`, which reads the directives of the script."""
        return (self._command("oarsub"), "-S", str(script))

    def read_submitted(self, code: int, stdout: str, stderr: str) -> Answer:
        """`OAR_JOB_ID=1234` on one of the lines."""
        found = _JOB_ID.search(stdout)
        if code == 0 and found is not None:
            return Answer(fate=Fate.ACCEPTED, job_id=found[1])
        words = f"{stdout}{stderr}".strip() or f"oarsub ended with exit code {code}"
        return Answer(fate=Fate.LATER if _LATER.search(words) else Fate.REFUSED, words=words)

    def poll(self, job_ids: Sequence[str]) -> tuple[str, ...]:
        """By `oarstat`, for all jobs of the user."""
        return (self._command("oarstat"), "-u", "-J")

    def read_listed(self, code: int, stdout: str, stderr: str) -> tuple[Listed, ...]:
        """An object of jobs by their ids; nothing at all if there are none."""
        require_answer("oarstat", code, stdout, stderr)
        try:
            told = json.loads(stdout) if stdout.strip() else {}
            return tuple(_listed(job_id, job) for job_id, job in told.items())
        except (ValueError, KeyError, AttributeError) as error:
            raise SchedulerError(f"oarstat answered what is no list of jobs ({error}): {stdout[:200]!r}") from error

    def cancel(self, jobs: Sequence[Listed]) -> tuple[str, ...]:
        """By `oardel`."""
        return (self._command("oardel"), *(job.job_id for job in jobs))

    def _command(self, name: str) -> str:
        return str(Path(self._commands) / name) if self._commands else name


def _resources(submission: Submission) -> str:
    """Whole nodes if they are to be exclusive, else cores."""
    site, num = submission.site, submission.num_processes
    cores = site.cpus_per_task or 1
    if site.exclusive:
        wanted = f"/nodes={site.nodes or 1}"
    elif site.nodes is not None:
        wanted = f"/nodes={site.nodes}/core={-(-num // site.nodes) * cores}"
    else:
        wanted = f"/core={num * cores}"
    if site.time_s is None:
        return wanted
    minutes, seconds = divmod(site.time_s, 60)
    return f"{wanted},walltime={minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _listed(job_id: str, job: dict[str, Any]) -> Listed:
    state = job["state"]
    phase = _PHASES.get(state, Phase.PENDING)
    words = str(job.get("message") or state) if phase is Phase.PENDING else state
    return Listed(job_id=str(job_id), tag=str(job.get("name") or ""), phase=phase, words=words)
