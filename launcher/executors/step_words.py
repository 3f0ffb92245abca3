"""How steps are named, and how the words of `srun` and `squeue` are read.

A step is found by its name, which holds the study, the job and a mark of its own. What `srun` itself says is in the log
of the job, in lines that begin with `srun: `, before the first word of the job.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

__all__ = ["StepName", "first_end", "node_failure", "nodes_of_ranks", "refusal", "steps_listed", "waiting"]

_TAG = "melissa-like"
_SAID = "srun: "
#: Words of `srun` after which another try may do better: it has not reached the controller, or that was busy.
_PASSING = ("timed out", "contact", "connect", "communication", "zero bytes", "temporarily", "try again", "in use")
_REFUSED = re.compile(
    r"unable to (create step|confirm allocation|allocate)|only allocated|fatal|invalid|unrecognized", re.I
)
_USAGE = 'Try "srun --help"'
_TASK_ENDED = re.compile(r"^srun: error: \S+: tasks? [\d,\[\]-]+: (.+)$", re.M)
_NAMES = {signal.strsignal(number): number.name for number in signal.Signals}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepName:
    """What a step is called.

    Attributes:
        study: the tag of its study.
        mark: of this step and no other.
        job: the name of its `JobSpec`.
    """

    study: str
    mark: str
    job: str

    def __str__(self) -> str:
        """As `srun --job-name` gets it."""
        return ":".join((_TAG, *(quote(part, safe="") for part in (self.study, self.mark, self.job))))

    @classmethod
    def parse(cls, text: str) -> "StepName | None":
        """The parts of a step's name; None if it is not one of ours."""
        parts = text.split(":")
        if len(parts) != 4 or parts[0] != _TAG:
            return None
        study, mark, job = map(unquote, parts[1:])
        return cls(study=study, mark=mark, job=job)


def steps_listed(text: str) -> dict[str, str]:
    """Our steps in what `squeue --steps --noheader --format='%i %j'` prints: the id of each, by its name."""
    found = {}
    for line in text.splitlines():
        step, _, name = line.strip().partition(" ")
        if StepName.parse(name) is not None:
            found[name] = step
    return found


def waiting(output: str) -> str:
    """Why a step is not created yet, in the words of `srun`; empty if it does not wait.

    Args:
        output: what the job has printed so far.
    """
    said = _said_first(output)
    if not said or "disabled" not in said[-1]:
        return ""
    return said[-1]


def refusal(output: str) -> tuple[str, bool] | None:
    """Why no step was created, in the words of `srun`, and whether another try makes sense; None if one may have been.

    Args:
        output: all that a job has printed that did not end well.
    """
    said = _said_first(output)
    others = [line for line in output.splitlines()[len(said) :] if not line.startswith(_USAGE)]
    if others or any(re.search(r": task\b|StepId=", line) for line in said):
        return None
    reasons = [line.removeprefix("error: ") for line in said if _REFUSED.search(line)]
    if not reasons:
        return None
    reason = "; ".join(reasons)
    return reason, any(word in reason.lower() for word in _PASSING)


def first_end(output: str) -> str:
    """How the first task ended that did not end well: "exit code 3", "killed by SIGSEGV"; empty if `srun` does not say.

    The others of the step are killed by that.

    Args:
        output: the last words of a job.
    """
    told = _TASK_ENDED.search(output)
    if told is None:
        return ""
    code = re.fullmatch(r"Exited with exit code (\d+)", told[1])
    if code is not None:
        return f"exit code {code[1]}"
    name = _NAMES.get(told[1].removesuffix(" (core dumped)"))
    return f"killed by {name}" if name is not None else ""


def node_failure(output: str) -> str:
    """What `srun` says of a node that has failed under its step; empty if it says nothing."""
    lines = [line.strip() for line in output.splitlines() if line.startswith((_SAID, "slurmstepd: "))]
    return next((line for line in lines if re.search(r"node failure", line, re.I)), "")


def nodes_of_ranks(output: str, num_ranks: int) -> tuple[str, ...] | None:
    """The node of each rank, from the lines `rank N on NODE`; None if some are missing."""
    told: Mapping[str, str] = dict(re.findall(r"^rank (\d+) on (\S+)$", output, re.M))
    nodes = [told.get(str(rank)) for rank in range(num_ranks)]
    return tuple(node for node in nodes if node) if all(nodes) else None


def _said_first(output: str) -> list[str]:
    """What `srun` said before the job did."""
    said = []
    for line in output.splitlines():
        if not line.startswith(_SAID):
            break
        said.append(line.removeprefix(_SAID).strip())
    return said
