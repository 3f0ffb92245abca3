"""What the launcher asks of a scheduler, whichever it is."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

__all__ = ["Executor", "FoundJob", "JobSpec", "JobState", "JobUpdate", "Role", "Traits", "WritesScripts"]


class JobState(StrEnum):
    """Where a job is; a job only ever moves down this list, and may skip lines of it."""

    QUEUED = auto()  #: the scheduler has it but does not run it yet
    ACTIVE = auto()  #: it runs
    COMPLETED = auto()  #: it ended with exit code 0
    FAILED = auto()  #: it ended otherwise, by itself or killed by somebody else, or was refused
    CANCELED = auto()  #: it ended after `Executor.cancel`, in whatever way

    @property
    def is_final(self) -> bool:
        """Whether no process of the job is left and no further update will come."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


class Role(StrEnum):
    """What a job is for; a site may have other settings for each."""

    SERVER = auto()  #: a server rank
    SOLVER = auto()  #: simulations


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the launcher has to know of an executor beforehand.

    Attributes:
        in_process: jobs are threads of this process, which run `JobSpec.call`, and not `JobSpec.command`.
        on_this_host: all jobs run on the host of this process, so that they reach it by its loopback address.
        starts_ranks: the executor itself starts `JobSpec.num_processes` of `JobSpec.program`, or one that
            `starts_others`, and not `JobSpec.command`: there is no MPI start command.
        same_programs: jobs find the programs that this process finds, and at the same paths.
        refusal: why it can start nothing from where this process runs, and what to do instead; empty: it can.
    """

    in_process: bool = False
    on_this_host: bool = True
    starts_ranks: bool = False
    same_programs: bool = True
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as the launcher wants it.

    Attributes:
        name: identifies the job while it lives.
        role: what it is for.
        gang: jobs of one `submit` that have the same gang start together or not at all, as the server ranks must, which
            wait for each other; empty: a job by itself.
        command: the program and its arguments, with the MPI start command in front where one is needed.
        program: the same without the MPI start command.
        call: what an executor with `Traits.in_process` runs instead of the command; gives the exit code, and has to end
            soon after its event is set.
        environment: variables added to the inherited environment. The caller limits threads here (OMP_NUM_THREADS).
        log: file that stdout and stderr are appended to; it and its parents are created.
        working_directory: an existing directory in which the command starts.
        num_ranks: client ranks of the job; 0 for one that is no solver job.
        num_processes: what the scheduler reserves places for; `command` starts as many.
        starts_others: `program` is one process, which starts the others itself, while it runs.
    """

    name: str
    role: Role = Role.SOLVER
    gang: str = ""
    command: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    call: Callable[[threading.Event], int] | None = None
    log: Path
    working_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    num_ranks: int = 1
    num_processes: int = 1
    starts_others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """One change of a job's state.

    Attributes:
        name: of the `JobSpec`.
        state: the new state.
        exit_code: of the main process; None while it has not ended, when it was killed, and when nobody knows.
        message: how it ended, for people: "exit code 3", "killed by SIGKILL", "canceled"; of a QUEUED job why it waits,
            in the scheduler's words.
        retry: of a job that was refused and never ran, whether the same job may well be accepted later (no process
            could be started) or never will (no such program); None for every other job.
        by_machine: not the job itself is to blame for its end: its node failed, it was preempted, or somebody who is
            not the launcher canceled it.
        out_of_time: it was ended at its time limit.
    """

    name: str
    state: JobState
    exit_code: int | None = None
    message: str = ""
    retry: bool | None = None
    by_machine: bool = False
    out_of_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJob:
    """A job that has not ended, as `Executor.find` lists it.

    Attributes:
        name: of its `JobSpec`.
        handle: what `Executor.submit` returned for it.
        state: QUEUED or ACTIVE.
    """

    name: str
    handle: str
    state: JobState


class Executor(Protocol):
    """Starts jobs, tells how they fare, ends them.

    The constructor takes `on_change: Callable[[], None]`, which is called, from any thread, whenever `poll` has
    something new. It must return at once and must not call back into the executor; setting an event is enough. If it
    takes `grace_s` too, it gets `launcher.grace_s`: the time between asking a job to end and killing it; if it takes
    `log_limit_bytes`, `launcher.log_limit`: what the log of a job may have; if it takes `run_dir`, the study's. It does
    no input or output.

    Entering the context starts what the executor itself needs; leaving it calls `close`. One thread uses it.
    """

    @property
    def traits(self) -> Traits:
        """What the launcher has to know of it; known before it is opened."""

    def __enter__(self) -> Self:
        """Opens the executor; nothing else works before."""

    def __exit__(self, *exc_info: object) -> None:
        """Closes the executor with a deadline of its own choice."""

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """Hands jobs to the scheduler, each tagged with the study and its name, and returns at once.

        A job that the scheduler refuses, or that cannot work (no such program, no such directory, a log that cannot be
        written), raises nothing: its only update is FAILED, with the reason and `retry`.

        Returns:
            A handle for each job that was accepted, by name: text that names this job and never another, also for
            another process after the death of this one.

        Raises:
            ValueError: a name occurs twice or belongs to a job whose final update has not been polled; a job has
                nothing to run; the executor is not open. Nothing was submitted.
        """

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """The jobs of a study that have not ended, whoever submitted them, also a launcher that is dead.

        What is found belongs to this executor from now on: `poll` tells of it and `close` ends it. A job whose launcher
        is dead may be about to end by itself.

        Raises:
            ValueError: the executor is not open.
        """

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call, oldest first; never blocks.

        Each job that was submitted or found gets exactly one final update, after which no process of it is left. One
        that waits may be told as QUEUED several times before, each time with another reason.
        """

    def cancel(self, handle: str) -> None:
        """Asks for the end of a job and returns at once; its final update tells when it is over.

        Every process of the job gets SIGTERM and, after a time of grace, SIGKILL. The job may be another executor's.
        Canceling a job again, or one that has ended, or that nobody knows, does nothing.
        """

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when nothing of it is left; `poll` still works afterwards.

        Raises:
            DeadlineExceededError: some of it could not be ended; names it.
        """


@runtime_checkable
class WritesScripts(Protocol):
    """What an executor may have besides: it shows what its scheduler would get, for `--dry-run`."""

    def script(self, specs: Sequence[JobSpec]) -> tuple[str, ...]:
        """The scripts, or commands, by which these jobs would be submitted; nothing is submitted or written.

        Variables of the jobs' environment are not in them.
        """
