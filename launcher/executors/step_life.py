"""What is known of a step, from its submission to its end."""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from melissa_like.launcher.executors.interface import JobSpec, JobUpdate, Role

__all__ = ["Phase", "Step"]


class Phase(Enum):
    """Where a step is."""

    HELD = auto()  #: not handed to `srun` yet
    STARTED = auto()  #: `srun` has it, and may wait for room
    ACTIVE = auto()  #: it runs


@dataclass(slots=True, kw_only=True)
class Step:
    """A step.

    Attributes:
        name: that Slurm knows it by; see `StepName`.
        job: the name of its job.
        spec: of the job; None of a step that was found.
        gang: that it must not start without: empty, or once there is room for all.
        asks_for: the gang for which it asks whether there is room.
        node: on which it must be started; empty: anywhere.
        srun: handle of its `srun`; empty while there is none that this host knows.
        log_begin: bytes that its log had before.
        started_at: when `srun` got it.
        words: why it waits, as was told last.
        canceled: its end was asked for.
        yields: because the server ranks need its place, not because the launcher wanted it.
        signaled: its processes got SIGTERM.
        kill_at: when they get SIGKILL.
        put_back: its `srun` is being ended, to be started anew later.
        ended: the final update of its `srun`.
        ended_at: when that came.
        gone_from: number of the look from which on its absence means that nothing of it is left.
    """

    name: str
    job: str
    spec: JobSpec | None = None
    phase: Phase = Phase.HELD
    gang: str = ""
    asks_for: str = ""
    node: str = ""
    srun: str = ""
    log_begin: int = 0
    started_at: float = 0.0
    words: str = ""
    canceled: bool = False
    yields: bool = False
    signaled: bool = False
    kill_at: float | None = None
    put_back: bool = False
    ended: JobUpdate | None = None
    ended_at: float = 0.0
    gone_from: int = 0

    @property
    def is_server(self) -> bool:
        """Whether it is of a server rank."""
        return self.spec is not None and self.spec.role is Role.SERVER

    @property
    def is_unsettled(self) -> bool:
        """Whether only Slurm can tell what comes next: does it run, has it ended?"""
        unsure = self.phase is Phase.STARTED or (self.phase is Phase.ACTIVE and not self.srun)
        return unsure or self.canceled or self.ended is not None

    @property
    def log(self) -> tuple[Path, int] | None:
        """Its log, and where its output begins in it."""
        return None if self.spec is None else (self.spec.log, self.log_begin)
