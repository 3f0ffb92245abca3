"""Does what the plan says to the processes of a study, and writes down whom it hit."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.plan import Failure, Kind
from tests.chaos.processes import Living, living, signal_one

__all__ = ["Disturber", "Hit", "all_gone"]

_ROLES = {
    Kind.KILL_SOLVER: ("solver",),
    Kind.STOP_SOLVER: ("solver",),
    Kind.KILL_SERVER: ("server",),
    Kind.KILL_ALL_SERVERS: ("server",),
    Kind.STOP_SERVER: ("server",),
    Kind.KILL_GUARD: ("guard", "starter"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """Somebody was hit.

    Attributes:
        at: time of day.
        victims: names of jobs and server ranks; `launcher`; `disk`.
        training: whether training steps had been made by then, and were still to be made.
    """

    kind: Kind
    at: float
    victims: tuple[str, ...]
    training: bool


@dataclass(slots=True)
class Disturber:
    """Carries failures out; what lasts is ended by `undo`, when its time has come.

    Attributes:
        run_dir: of the study.
        launcher: the pid of its launcher now.
        hits: so far.
    """

    run_dir: Path
    launcher: int = 0
    hits: list[Hit] = field(default_factory=list)
    _undoing: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def carry_out(self, failure: Failure) -> None:
        """Do it, to whom the plan's choice falls on; nothing happens where nobody of the kind lives."""
        training, at = self.trains(), time.time()
        victims = self._hit(failure)
        if victims:
            self.hits.append(Hit(kind=failure.kind, at=at, victims=victims, training=training))

    def undo(self, *, all_of_it: bool = False) -> None:
        """Continue what was stopped, and make room, where the time has come."""
        now = time.monotonic()
        due = [undo for until, undo in self._undoing if all_of_it or until <= now]
        self._undoing = [entry for entry in self._undoing if not (all_of_it or entry[0] <= now)]
        for undo in due:
            undo()

    def _hit(self, failure: Failure) -> tuple[str, ...]:
        match failure.kind:
            case Kind.KILL_LAUNCHER | Kind.STOP_LAUNCHER:
                return self._hit_launcher(failure)
            case Kind.FULL_DISK:
                return self._fill(failure.lasts_s)
        there = [process for process in living(self.run_dir) if process.role in _ROLES[failure.kind]]
        if not there:
            return ()
        chosen = there if failure.kind is Kind.KILL_ALL_SERVERS else [there[int(failure.choice * len(there))]]
        stops = failure.kind in (Kind.STOP_SOLVER, Kind.STOP_SERVER)
        hit = [process for process in chosen if signal_one(process, signal.SIGSTOP if stops else signal.SIGKILL)]
        if stops:
            self._later(failure.lasts_s, lambda: [signal_one(process, signal.SIGCONT) for process in hit])
        return tuple(process.name for process in hit)

    def _hit_launcher(self, failure: Failure) -> tuple[str, ...]:
        pid = self.launcher
        if failure.kind is Kind.KILL_LAUNCHER:
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            self._later(failure.lasts_s, lambda: _continue(pid))
        return ("launcher",)

    def _fill(self, seconds: float) -> tuple[str, ...]:
        """Take what is left of a file system that was made for it; of no other one."""
        if not self.run_dir.parent.is_mount():
            return ()
        ballast = self.run_dir.parent / "ballast"
        with ballast.open("wb", buffering=0) as stream:
            for block in (bytes(2**20), bytes(2**12), b"0"):
                with suppress(OSError):
                    while stream.write(block):
                        pass
        self._later(seconds, lambda: ballast.unlink(missing_ok=True))
        return ("disk",)

    def _later(self, seconds: float, undo: Callable[[], object]) -> None:
        self._undoing.append((time.monotonic() + seconds, undo))

    def trains(self) -> bool:
        """Whether the study trains now, as its status says."""
        with suppress(OSError, json.JSONDecodeError):
            told = json.loads((self.run_dir / "status.json").read_text())
            return bool(told["batches"]) and told["phase"] in ("streaming", "draining the buffer")
        return False


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def all_gone(run_dir: Path, patience_s: float) -> list[Living]:
    """What is left of a study after some seconds of patience."""
    deadline = time.monotonic() + patience_s
    while (left := living(run_dir)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
