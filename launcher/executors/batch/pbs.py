"""PBS Professional and OpenPBS: its script, and the formats of qsub, qstat and qdel.

After the manuals (PBS Professional User's Guide and Reference Guide; qsub(1B), qstat(1B), pbsdsh(1B)); not run on a
real one. `qstat -F json` is not used: of several jobs it may show only the first, and environments break it (OpenPBS
issues 2672 and 2541).
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

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

__all__ = ["Pbs"]

_LATER = re.compile(
    r"would exceed .*limit|limit .*(reached|exceeded)|cannot connect|Connection refused|communication failure"
    r"|timed out|shutting down|try again",
    re.IGNORECASE,
)
#: What qstat complains of when jobs that were asked for have gone, and lists the others all the same.
_GONE = re.compile(r"Unknown Job Id|Job has finished", re.IGNORECASE)
_PHASES = {
    **dict.fromkeys("QHWTM", Phase.PENDING),
    **dict.fromkeys("RSUB", Phase.RUNNING),
    "E": Phase.ENDING,
    **dict.fromkeys("FX", Phase.ENDED),
}
_KILLED = 256


class Pbs:
    """Batch jobs of PBS Professional and OpenPBS.

    The tag of a job is a variable of its environment. Its environment is that of a login and what the settings of the
    site and of the solver say: PBS would show any other to whoever may list jobs. There are no arrays, because PBS runs
    elements of arrays again by itself.

    Args:
        commands: folder of qsub, qstat and qdel, where they are not on PATH.
        history: whether the site keeps the history of jobs for a while, so that qstat -x tells how they ended.
    """

    name = "PBS"
    array_limit = 1
    accepts = frozenset(
        (
            *("partition", "account", "time", "nodes", "cpus_per_task", "mem", "gpus", "exclusive"),
            *("setup", "environment", "container", "python", "options"),
        )
    )

    def __init__(self, *, commands: str = "", history: bool = False) -> None:
        self._commands = commands
        self._history = history

    def script(self, submission: Submission, start: Start) -> str:
        """Directives, the site's lines, and the start: of a gang by one pbsdsh per place."""
        directives = [f"#PBS {option}" for option in self._options(submission)]
        folder = shlex.quote(str(submission.specs[0].working_directory.absolute()))
        if submission.is_gang:
            pbsdsh = self._command("pbsdsh")
            lines = start_each((pbsdsh, "-n", str(i), "--", *start.at(i)) for i in range(len(submission.specs)))
        else:
            lines = (f"exec {shlex.join(start.at(0))}",)
        return "\n".join(("#!/bin/bash", *directives, "", f"cd {folder}", *submission.site.setup, *lines, ""))

    def _options(self, submission: Submission) -> Iterator[str]:
        site = submission.site
        yield f"-N {submission.specs[0].name[:15]}"  # no more in older versions
        yield f"-o {submission.output.format(index=0)}"
        yield "-j oe"
        yield "-r n"  # the launcher runs again what is lost
        yield f"-v MELISSA_LIKE_TAG={submission.tag}"
        yield f"-l select={_chunks(submission)}"
        if site.exclusive:
            yield "-l place=scatter:excl" if site.nodes is not None else "-l place=excl"
        elif site.nodes is not None:
            yield "-l place=scatter"
        if site.time_s is not None:
            minutes, seconds = divmod(site.time_s, 60)
            yield f"-l walltime={minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        if site.partition:
            yield f"-q {site.partition}"
        if site.account:
            yield f"-A {site.account}"
        yield from site.options

    def submit(self, script: Path) -> tuple[str, ...]:
        """By `qsub`."""
        return (self._command("qsub"), str(script))

    def read_submitted(self, code: int, stdout: str, stderr: str) -> Answer:
        """`1234.server` on the last line."""
        last = stdout.strip().rpartition("\n")[2].strip()
        if code == 0 and last[:1].isdigit():
            return Answer(fate=Fate.ACCEPTED, job_id=last)
        words = (stderr or stdout).strip() or f"qsub ended with exit code {code}"
        return Answer(fate=Fate.LATER if _LATER.search(words) else Fate.REFUSED, words=words)

    def poll(self, job_ids: Sequence[str]) -> tuple[str, ...]:
        """By `qstat`, for the jobs by their ids."""
        return (self._command("qstat"), "-f", *(("-x",) if self._history else ()), *job_ids)

    def read_listed(self, code: int, stdout: str, stderr: str) -> tuple[Listed, ...]:
        """Paragraphs of `name = value`, continued on lines that begin with a tab."""
        if not all(_GONE.search(line) for line in stderr.splitlines() if line.strip()):
            require_answer("qstat", code, stdout, stderr)
        paragraphs = re.split(r"^Job Id: *", stdout, flags=re.MULTILINE)[1:]
        return tuple(_listed(paragraph) for paragraph in paragraphs)

    def cancel(self, jobs: Sequence[Listed]) -> tuple[str, ...]:
        """By `qdel`."""
        return (self._command("qdel"), *(job.job_id for job in jobs))

    def _command(self, name: str) -> str:
        return str(Path(self._commands) / name) if self._commands else name


def _chunks(submission: Submission) -> str:
    """Chunks of a node each, if a number of nodes is given, else of a process each."""
    site, num = submission.site, submission.num_processes
    chunks = num if site.nodes is None else site.nodes
    each = -(-num // chunks)
    asked = [f"{chunks}:ncpus={each * (site.cpus_per_task or 1)}:mpiprocs={each}"]
    if site.mem:
        asked.append(f"mem={site.mem}")
    if site.gpus is not None:
        asked.append(f"ngpus={each * site.gpus}")
    return ":".join(asked)


def _listed(paragraph: str) -> Listed:
    job_id, _, rest = paragraph.partition("\n")
    lines = rest.replace("\n\t", "").splitlines()
    told = {name.strip(): value for name, _, value in (line.partition(" = ") for line in lines)}
    phase = _PHASES.get(told.get("job_state", ""), Phase.RUNNING)
    status = int(told["Exit_status"]) if "Exit_status" in told else None
    comment = told.get("comment", "").strip()
    words = comment if status is None else f"exit status {status}{f' ({comment})' if comment else ''}"
    return Listed(
        job_id=job_id.strip(),
        tag=told.get("Variable_List", ""),
        phase=phase,
        words=words or told.get("job_state", ""),
        exit_code=status if status is not None and 0 <= status < _KILLED else None,
        says_more=phase is Phase.ENDED and status is not None and status < 0,
    )
