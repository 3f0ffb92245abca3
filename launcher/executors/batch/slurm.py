"""Slurm: its script, and the formats of sbatch, squeue and scancel (tried on 22.05)."""

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
from melissa_like.launcher.executors.batch.site import SiteSettings
from melissa_like.launcher.executors.interface import Role

__all__ = ["Slurm"]

#: What another try may bring to an end: the controller is busy or away, or other jobs of the user must end first.
_LATER = re.compile(
    r"Submit\w*Limit|temporarily unable|temporarily unavailable|Unable to contact|Connection (refused|reset|timed out)"
    r"|connection failure|backup controller|standby|too busy|try again",
    re.IGNORECASE,
)
#: Of these, what fewer jobs would be accepted for.
_FULL = re.compile(r"Submit\w*Limit", re.IGNORECASE)
#: The controller may have taken the job, and only its answer was lost.
_UNKNOWN = re.compile(r"Socket timed out|Zero Bytes|Message receive failure|Unexpected message", re.IGNORECASE)

#: Why a job is pending that was accepted, and will never run as it is.
_NEVER = re.compile(
    r"BadConstraints|PartitionConfig|PartitionTimeLimit|\w*NotAllowed|Invalid(Account|QOS)|\w+PerJob\w*"
)

_PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
#: Ends of which the exit code tells all.
_PLAIN = {"COMPLETED", "FAILED"}
#: Ends that are no fault of the job.
_BY_MACHINE = {"NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "CANCELLED", "REVOKED"}


class Slurm:
    """Batch jobs of Slurm, as its users submit them.

    One `squeue` tells of all jobs: also, for some minutes (MinJobAge), how those ended that have; so no accounting is
    needed. The tag of a job is its comment.

    Args:
        notice_s: so many seconds before the time limit of their job, or somewhat earlier, server ranks are told to save
            and to end, and others go on in another job.
        commands: folder of sbatch, squeue, scancel and srun, where they are not on PATH.
        array_limit: elements that an array may have; the site's MaxArraySize must be more.
    """

    name = "Slurm"
    accepts = frozenset(
        (
            *("partition", "account", "qos", "constraint", "gres", "time", "nodes", "cpus_per_task", "mem", "gpus"),
            *("exclusive", "setup", "environment", "container", "python", "options"),
        )
    )

    def __init__(self, *, notice_s: int = 120, commands: str = "", array_limit: int = 1000) -> None:
        self.array_limit = array_limit
        self._notice_s = notice_s
        self._commands = commands

    def script(self, submission: Submission, start: Start) -> str:
        """Directives, the site's lines, and the start: of a gang by srun, which ends all if a rank is lost."""
        directives = [f"#SBATCH {option}" for option in self._options(submission)]
        if submission.is_gang:
            line = shlex.join((*self._srun(submission), *start.at("SLURM_PROCID")))
        else:
            line = shlex.join(start.at("SLURM_ARRAY_TASK_ID" if submission.is_array else 0))
        return "\n".join(("#!/bin/bash", *directives, "", *submission.site.setup, f"exec {line}", ""))

    def _options(self, submission: Submission) -> Iterator[str]:
        site, spec = submission.site, submission.specs[0]
        yield f"--job-name={shlex.quote(spec.name)}"
        yield f"--comment={submission.tag}"
        yield f"--chdir={shlex.quote(str(spec.working_directory.absolute()))}"
        index = "%a" if submission.is_array else "0"
        yield f"--output={shlex.quote(submission.output.replace('%', '%%').format(index=index))}"
        yield "--open-mode=append"
        yield "--no-requeue"  # the launcher runs again what is lost
        if spec.role is Role.SERVER:  # to the processes of `srun`, or to the script, which becomes the only process
            yield f"--signal={'' if submission.is_gang else 'B:'}USR1@{self._notice_s}"
        if submission.array_from is not None:
            yield f"--array={submission.array_from}-{submission.array_from + len(submission.specs) - 1}"
        yield f"--ntasks={submission.num_processes}"
        yield from _resources(submission)
        for option, value in (
            ("partition", site.partition),
            ("account", site.account),
            ("qos", site.qos),
            ("constraint", site.constraint),
            ("gres", site.gres),
            ("mem", site.mem),
        ):
            if value:
                yield f"--{option}={shlex.quote(value)}"
        if site.time_s is not None:
            yield f"--time={_duration(site.time_s)}"
        if site.exclusive:
            yield "--exclusive"
        yield from site.options

    def _srun(self, submission: Submission) -> Iterator[str]:
        """The start of a gang; its options are said again, because srun does not take all of them from the job."""
        yield from (self._command("srun"), "--mpi=none", "--kill-on-bad-exit=1", "--wait=0")
        yield f"--ntasks={submission.num_processes}"
        yield from _per_task(submission.site)

    def submit(self, script: Path) -> tuple[str, ...]:
        """By `sbatch`, which prints the id alone."""
        return (self._command("sbatch"), "--parsable", str(script))

    def read_submitted(self, code: int, stdout: str, stderr: str) -> Answer:
        """`1234`, or `1234;cluster`, on the last line."""
        last = stdout.strip().rpartition("\n")[2].partition(";")[0].strip()
        if code == 0 and last.isdigit():
            return Answer(fate=Fate.ACCEPTED, job_id=last)
        words = (stderr or stdout).strip() or f"sbatch ended with exit code {code}"
        if _UNKNOWN.search(words):
            return Answer(fate=Fate.UNKNOWN, words=words)
        later = _LATER.search(words) is not None
        return Answer(fate=Fate.LATER if later else Fate.REFUSED, words=words, is_full=bool(_FULL.search(words)))

    def poll(self, job_ids: Sequence[str]) -> tuple[str, ...]:
        """By `squeue`, for all jobs of the user, in whatever state, array elements one by one."""
        options = ("--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%k")
        return (self._command("squeue"), *options)

    def read_listed(self, code: int, stdout: str, stderr: str) -> tuple[Listed, ...]:
        """One line per job: `1234_7|RUNNING|None|n1|comment`."""
        require_answer("squeue", code, stdout, stderr)
        rows = (line.split("|", 4) for line in stdout.splitlines())
        return tuple(_listed(*row) for row in rows if len(row) == 5)

    def cancel(self, jobs: Sequence[Listed]) -> tuple[str, ...]:
        """By `scancel`; an element of an array by its index, unless it is none."""
        return (self._command("scancel"), *(job.number for job in jobs))

    def _command(self, name: str) -> str:
        return str(Path(self._commands) / name) if self._commands else name


def _resources(submission: Submission) -> Iterator[str]:
    site = submission.site
    if site.nodes is not None:
        yield f"--nodes={site.nodes}"
        yield f"--ntasks-per-node={-(-submission.num_processes // site.nodes)}"
    yield from _per_task(site)


def _per_task(site: SiteSettings) -> Iterator[str]:
    if site.cpus_per_task is not None:
        yield f"--cpus-per-task={site.cpus_per_task}"
    if site.gpus is not None:
        yield f"--gpus-per-task={site.gpus}"


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}"


def _listed(number: str, state: str, reason: str, nodes: str, comment: str) -> Listed:
    job_id, _, index = number.partition("_")
    reason = "" if reason in ("None", "(null)") else reason
    where = f" on {nodes}" if nodes else ""
    if state in _PENDING:
        phase, words = Phase.PENDING, reason
    elif state in _RUNNING:
        phase, words = Phase.RUNNING, state
    else:
        phase = Phase.ENDING if state == "COMPLETING" else Phase.ENDED
        words = f"{state}{f' ({reason})' if reason else ''}{where}"
    return Listed(
        job_id=job_id,
        index=int(index) if index.isdigit() else None,
        tag=comment,
        phase=phase,
        words=words,
        exit_code=0 if state == "COMPLETED" else None,
        by_machine=state in _BY_MACHINE,
        out_of_time=state == "TIMEOUT",
        says_more=phase is Phase.ENDED and state not in _PLAIN,
        never_runs=(phase is Phase.PENDING or state == "FAILED") and _NEVER.fullmatch(reason) is not None,
    )
