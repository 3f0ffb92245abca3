"""What the launcher asks of a scheduler, whichever it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from typing import Protocol, Self

__all__ = ["Executor", "JobSpec", "JobState", "JobUpdate"]


class JobState(StrEnum):
    """Where a job is; a job only ever moves down this list, and may skip lines of it."""

    QUEUED = auto()  #: the scheduler has it but does not run it yet
    ACTIVE = auto()  #: it runs
    COMPLETED = auto()  #: it ended with exit code 0
    FAILED = auto()  #: it ended otherwise, by itself or killed by somebody else
    CANCELED = auto()  #: it ended after `Executor.cancel`, in whatever way

    @property
    def is_final(self) -> bool:
        """Whether no process of the job is left and no further update will come."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as the launcher wants it.

    Attributes:
        name: identifies the job; an executor accepts each name once.
        command: the program and its arguments, with the MPI start command in front where one is needed.
        environment: variables added to the inherited environment. The caller limits threads here (OMP_NUM_THREADS).
        log: file that stdout and stderr are appended to; it and its parents are created.
        working_directory: an existing directory in which the command starts.
        num_ranks: processes that the job runs with; the scheduler reserves as many, `command` starts them.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    working_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    num_ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """One change of a job's state.

    Attributes:
        name: of the `JobSpec`.
        state: the new state.
        exit_code: of the main process; None while it has not ended, or when it was killed.
        message: how it ended, for people: "exit code 3", "killed by SIGKILL", "canceled". Empty before the end.
    """

    name: str
    state: JobState
    exit_code: int | None = None
    message: str = ""


class Executor(Protocol):
    """Starts jobs, tells how they fare, ends them.

    The constructor takes `on_change: Callable[[], None]`, which is called, from any thread, whenever `poll` has
    something new. It must return at once and must not call back into the executor; setting an event is enough.

    Entering the context starts what the executor itself needs; leaving it calls `close`. One thread uses it.
    """

    def __enter__(self) -> Self:
        """Opens the executor; nothing else works before."""

    def __exit__(self, *exc_info: object) -> None:
        """Closes the executor with a deadline of its own choice."""

    def submit(self, spec: JobSpec) -> None:
        """Hands a job to the scheduler and returns at once.

        Raises:
            ConfigurationError: the job cannot work on this machine (no such command, no such directory); nothing
                was started.
            ValueError: the name was used before, or the executor is not open.
            OSError: the log cannot be written, or no process can be started.
        """

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call, oldest first; never blocks.

        Each job that was submitted gets exactly one final update, after which no process of it is left.
        """

    def cancel(self, name: str) -> None:
        """Asks for the end of a job and returns at once; its final update tells when it is over.

        Every process of the job gets SIGTERM and, after a time of grace, SIGKILL. Canceling a job again, or one that
        has ended, or one that could not be submitted, does nothing.
        """

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when nothing of it is left; `poll` still works afterwards.

        Raises:
            DeadlineExceededError: some of it could not be ended; names it.
        """
