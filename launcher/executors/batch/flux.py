"""Flux: its script, and the formats of flux batch, flux jobs and flux cancel.

After the manual pages of flux-core (flux-batch(1), flux-run(1), flux-jobs(1), flux-cancel(1), flux-shell-options(7));
not run on a real one.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from melissa_like.launcher.executors.batch.scheduler import (
    Answer,
    Fate,
    Listed,
    Phase,
    Start,
    Submission,
    require_answer,
)

__all__ = ["Flux"]

_LATER = re.compile(r"unable to connect|Connection refused|timed out|No route|try again|too many", re.IGNORECASE)
_PHASES = {"RUN": Phase.RUNNING, "CLEANUP": Phase.ENDING, "INACTIVE": Phase.ENDED}
_FIELDS = (
    "id.f58",
    "state",
    "result",
    "returncode",
    "name",
    "exception.type",
    "exception.note",
    "sched.reason_pending",
)
_BY_MACHINE = {"CANCELED"}


class Flux:
    """Batch jobs of Flux, in whose instance the launcher runs, or which FLUX_URI names.

    The tag of a job is its name.

    Args:
        commands: folder of flux, where it is not on PATH.
    """

    name = "Flux"
    array_limit = 1
    accepts = frozenset(
        (
            *("partition", "account", "constraint", "time", "nodes", "cpus_per_task", "gpus", "exclusive"),
            *("setup", "environment", "container", "python", "options"),
        )
    )

    def __init__(self, *, commands: str = "") -> None:
        self._flux = str(Path(commands) / "flux") if commands else "flux"

    def script(self, submission: Submission, start: Start) -> str:
        """Directives, the site's lines, and the start: of a gang by flux run, which ends all if a rank is lost."""
        directives = [f"# flux: {option}" for option in self._options(submission)]
        line = shlex.join(start.at(0))
        if submission.is_gang:
            line = shlex.join((*self._run(submission), *start.at("FLUX_TASK_RANK")))
        return "\n".join(("#!/bin/bash", *directives, "", *submission.site.setup, f"exec {line}", ""))

    def _options(self, submission: Submission) -> Iterator[str]:
        site = submission.site
        yield f"--job-name={submission.tag}"
        yield f"--output={shlex.quote(submission.output.format(index=0))}"
        yield f"--cwd={shlex.quote(str(submission.specs[0].working_directory.absolute()))}"
        yield f"--nslots={submission.num_processes}"
        for option, value in (
            ("nodes", site.nodes),
            ("cores-per-slot", site.cpus_per_task),
            ("gpus-per-slot", site.gpus),
            ("queue", site.partition),
            ("bank", site.account),
            ("requires", site.constraint),
        ):
            if value:
                yield f"--{option}={shlex.quote(str(value))}"
        if site.time_s is not None:
            yield f"--time-limit={site.time_s}s"
        if site.exclusive:
            yield "--exclusive"
        yield from site.options

    def _run(self, submission: Submission) -> Iterator[str]:
        site = submission.site
        yield from (self._flux, "run", f"--ntasks={submission.num_processes}")
        if site.cpus_per_task is not None:
            yield f"--cores-per-task={site.cpus_per_task}"
        if site.gpus is not None:
            yield f"--gpus-per-task={site.gpus}"
        yield from ("-o", "exit-on-error", "-o", "exit-timeout=none")

    def submit(self, script: Path) -> tuple[str, ...]:
        """By `flux batch`."""
        return (self._flux, "batch", str(script))

    def read_submitted(self, code: int, stdout: str, stderr: str) -> Answer:
        """The id on the last line."""
        last = stdout.strip().rpartition("\n")[2].strip()
        if code == 0 and last:
            return Answer(fate=Fate.ACCEPTED, job_id=last)
        words = (stderr or stdout).strip() or f"flux batch ended with exit code {code}"
        return Answer(fate=Fate.LATER if _LATER.search(words) else Fate.REFUSED, words=words)

    def poll(self, job_ids: Sequence[str]) -> tuple[str, ...]:
        """By `flux jobs`, for all of the user, those that have ended too."""
        pattern = "|".join(f"{{{name}}}" for name in _FIELDS)
        return (self._flux, "jobs", "-a", "--count=100000", "--suppress-header", f"--format={pattern}")

    def read_listed(self, code: int, stdout: str, stderr: str) -> tuple[Listed, ...]:
        """One line per job; what is not known is empty."""
        require_answer("flux jobs", code, stdout, stderr)
        rows = (line.split("|", len(_FIELDS) - 1) for line in stdout.splitlines())
        return tuple(_listed(*row) for row in rows if len(row) == len(_FIELDS))

    def cancel(self, jobs: Sequence[Listed]) -> tuple[str, ...]:
        """By `flux cancel`."""
        return (self._flux, "cancel", *(job.job_id for job in jobs))


def _listed(
    job_id: str, state: str, result: str, returned: str, name: str, exception: str, note: str, reason: str
) -> Listed:
    phase = _PHASES.get(state, Phase.PENDING)
    words = reason or state
    if phase is Phase.ENDED:
        words = f"{result}{f' ({exception}: {note})' if exception else ''}"
    code = int(returned) if returned.lstrip("-").isdigit() else None
    return Listed(
        job_id=job_id,
        tag=name,
        phase=phase,
        words=words,
        exit_code=code if phase is Phase.ENDED and code is not None and code >= 0 else None,
        by_machine=phase is Phase.ENDED and (result in _BY_MACHINE or exception == "node-failure"),
        out_of_time=phase is Phase.ENDED and result == "TIMEOUT",
        says_more=phase is Phase.ENDED and (result not in ("COMPLETED", "FAILED") or bool(exception)),
    )
