"""What a batch scheduler is asked, and what it answers: commands out, text in, nothing run here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from melissa_like.errors import SchedulerError
from melissa_like.launcher.executors.batch.site import SiteSettings
from melissa_like.launcher.executors.interface import JobSpec

__all__ = [
    "Answer",
    "Fate",
    "Listed",
    "Phase",
    "Scheduler",
    "Start",
    "Submission",
    "read_tag",
    "require_answer",
]

_TAG = re.compile(r"melissa-like:([^:\s]+):([^:\s,]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What one call of the scheduler's submit command submits.

    Attributes:
        key: names it for ever; parts of an array that are submitted one after another have the same.
        study: the tag of the study.
        specs: one job; elements of an array; or, if they have a gang, processes that start together.
        array_from: index of the first of them in the array; None: they are no elements of one.
        site: settings of their role.
        output: file for what the scheduler and the lines before the start print; `{index}` stands for the element.
    """

    key: str
    study: str
    specs: tuple[JobSpec, ...]
    site: SiteSettings
    array_from: int | None = None
    output: str = ""

    @property
    def name(self) -> str:
        """Of the part: no other submission has it."""
        return f"{self.key}@{self.array_from}" if self.array_from else self.key

    @property
    def is_gang(self) -> bool:
        """Whether its jobs are the processes of one batch job."""
        return len(self.specs) > 1 and bool(self.specs[0].gang)

    @property
    def is_array(self) -> bool:
        """Whether its jobs are elements of an array, though there may be one only."""
        return self.array_from is not None

    @property
    def is_alone(self) -> bool:
        """Whether each job is one process, and what descends from it on its node."""
        return self.is_gang or self.specs[0].num_processes == 1

    @property
    def num_processes(self) -> int:
        """What a batch job of it reserves places for."""
        return len(self.specs) if self.is_gang else self.specs[0].num_processes

    @property
    def tag(self) -> str:
        """What the scheduler keeps with its jobs, so that they are found."""
        return f"melissa-like:{quote(self.study, safe='')}:{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The command line that starts one process of a submission, but for its last word.

    Attributes:
        words: to which the place in `Submission.specs` is added: a number, or the name of an environment variable.
    """

    words: tuple[str, ...]

    def at(self, place: int | str) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.words, str(place))


class Fate(Enum):
    """What became of a submission."""

    ACCEPTED = auto()
    REFUSED = auto()  #: and will be again
    LATER = auto()  #: refused now; the same may be accepted later
    UNKNOWN = auto()  #: nobody knows: the scheduler did not answer in time, and may have it all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the submit command said.

    Attributes:
        job_id: the scheduler's, if it was accepted.
        words: the scheduler's own, if it was not.
        is_full: it was refused because the user has too many jobs there: fewer may be accepted.
    """

    fate: Fate
    job_id: str = ""
    words: str = ""
    is_full: bool = False


class Phase(Enum):
    """Where a batch job is, as its scheduler lists it."""

    PENDING = auto()
    RUNNING = auto()
    ENDING = auto()  #: its processes are being ended
    ENDED = auto()  #: none of them is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A batch job, or an element of an array, in the scheduler's list.

    Attributes:
        job_id: of the submission.
        index: in the array; None for what is no element of one.
        tag: that it was submitted with; see `Submission.tag`.
        words: why it waits, or how it ended.
        exit_code: if the list tells it.
        by_machine: it ended, and not by itself: its node failed, it was preempted, somebody canceled it.
        out_of_time: it was ended at its time limit.
        says_more: the words tell more of its end than the exit code of its program would.
        never_runs: it waits for what will not come, as the words say: more than there is, or than is allowed.
    """

    job_id: str
    index: int | None = None
    tag: str = ""
    phase: Phase
    words: str = ""
    exit_code: int | None = None
    by_machine: bool = False
    out_of_time: bool = False
    says_more: bool = False
    never_runs: bool = False

    @property
    def number(self) -> str:
        """As people know it: "12", or "12_3" for an element of an array."""
        return self.job_id if self.index is None else f"{self.job_id}_{self.index}"


class Scheduler(Protocol):
    """The commands and formats of one batch scheduler; all of it is pure. Its constructor takes settings only.

    What is not text of the scheduler's is done by `BatchExecutor`: files, processes, time.
    """

    @property
    def name(self) -> str:
        """For messages: "Slurm"."""
        ...

    @property
    def array_limit(self) -> int:
        """Elements that an array may have; 1: no arrays, every job is submitted by itself."""
        ...

    @property
    def accepts(self) -> frozenset[str]:
        """The site settings that it knows what to do with, among the names of `SiteSettings`."""
        ...

    def script(self, submission: Submission, start: Start) -> str:
        """The batch script.

        It asks for `submission.num_processes` places, carries `submission.tag`, is not run again by the scheduler, runs
        the site's lines, and becomes the started process; of a gang it starts one process per place.
        """
        ...

    def submit(self, script: Path) -> tuple[str, ...]:
        """The command that submits a script."""
        ...

    def read_submitted(self, code: int, stdout: str, stderr: str) -> Answer:
        """What it answered, by its exit code and what it printed."""
        ...

    def poll(self, job_ids: Sequence[str]) -> tuple[str, ...]:
        """The one command that lists all jobs of the user that have not ended, and those that just have.

        Args:
            job_ids: of the jobs that are awaited, for a scheduler that must be asked by them; none: all are wanted.
        """
        ...

    def read_listed(self, code: int, stdout: str, stderr: str) -> tuple[Listed, ...]:
        """What it answered.

        Raises:
            SchedulerError: it has failed; nothing is known of any job.
        """
        ...

    def cancel(self, jobs: Sequence[Listed]) -> tuple[str, ...]:
        """The command that ends these; with SIGTERM first, and SIGKILL later, for those that run."""
        ...


def read_tag(tag: str) -> tuple[str, str] | None:
    """Study, as quoted in a tag, and key of a submission; None if the text has no tag of ours."""
    found = _TAG.search(tag)
    return None if found is None else (found[1], found[2])


def require_answer(command: str, code: int, stdout: str, stderr: str) -> None:
    """Refuse the answer of a command that has failed.

    Raises:
        SchedulerError: with its words.
    """
    if code != 0:
        raise SchedulerError(f"{command} failed with exit code {code}: {(stderr or stdout).strip() or 'no message'}")
