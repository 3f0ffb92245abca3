"""One seed: a study is started, disturbed, left alone, and judged."""

import math
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from melissa_like.records import Window
from tests.chaos.disturb import Disturber, all_gone
from tests.chaos.plan import Kind, failures, setting_of
from tests.chaos.processes import signal_one
from tests.chaos.study import NUM_STEPS, STEP_S, overrides_of
from tests.chaos.verdict import Verdict, judge
from tests.integration.studies import COMMAND, environment

__all__ = ["DISK", "run_seed"]

DISK = "disk"

_LOOK_S = 0.02
_FIRST_AFTER_S = 6.0
#: Of the minutes: how long the solvers would take undisturbed, and how long failures happen once it trains.
_STREAMING, _DISTURBED = 0.5, 0.7
#: What a study may take besides the minutes: starts of servers and launchers on a busy machine.
_PATIENCE_S = 180.0
_GONE_S = 10.0
#: What a launcher says that cannot write.
_NO_ROOM = ("make room", "No space left on device")


def run_seed(seed: int, minutes: float, kinds: frozenset[Kind], folder: Path, window: Window | None = None) -> Verdict:
    """One study, disturbed and judged; nothing of it is left running.

    Args:
        seed: what happens when.
        minutes: that the disturbed part takes, about.
        kinds: of failures.
        folder: for everything that is written; the study is in `disk` below it, whose file system is what is filled.
        window: of time steps, that a sample is; None: one step.
    """
    setting = setting_of(seed)
    num_simulations = max(10, round(60.0 * minutes * _STREAMING * setting.max_jobs / (STEP_S * NUM_STEPS)))
    (folder / DISK).mkdir(exist_ok=True)
    run_dir = folder / DISK / "study"
    overrides = overrides_of(folder, setting, num_simulations, window)
    study = _Study(folder, run_dir, overrides, setting.num_server_ranks, Disturber(run_dir))
    try:
        study.run(seed, minutes, kinds)
    finally:
        left = study.end()
    verdict = judge(
        run_dir,
        folder,
        study.disturber.hits,
        num_simulations=num_simulations,
        num_steps=NUM_STEPS,
        resumes=study.num_resumes,
        window=window,
    )
    return replace(verdict, faults=(*study.faults, *left, *verdict.faults))


@dataclass(slots=True)
class _Study:
    """Its launcher, or launchers one after another."""

    folder: Path
    run_dir: Path
    overrides: list[str]
    num_server_ranks: int
    disturber: Disturber
    faults: list[str] = field(default_factory=list)
    num_resumes: int = 0
    _launcher: "subprocess.Popen[bytes] | None" = None

    def run(self, seed: int, minutes: float, kinds: frozenset[Kind]) -> None:
        """Until the launcher has ended as it should, or the time is over."""
        began, plan = time.monotonic(), failures(seed, kinds)
        calm_at, deadline = math.inf, began + 60.0 * minutes + _PATIENCE_S
        upcoming, due = next(plan), began + _FIRST_AFTER_S
        resume_at = 0.0
        self._start("run", *self.overrides)
        while (now := time.monotonic()) < deadline:
            if calm_at == math.inf and self.disturber.trains():
                calm_at = now + 60.0 * minutes * _DISTURBED
            is_calm = now >= calm_at
            self.disturber.undo(all_of_it=is_calm)
            code = self._launcher.poll() if self._launcher is not None else None
            if code is not None and now >= resume_at:
                if not self._goes_on(code):
                    return
            elif code is None and not is_calm and now >= due and (not upcoming.in_training or self.disturber.trains()):
                self.disturber.carry_out(upcoming)
                if upcoming.kind is Kind.KILL_LAUNCHER:
                    resume_at = now + upcoming.lasts_s
                    self.num_server_ranks = upcoming.num_server_ranks or self.num_server_ranks
                upcoming = next(plan)
                due = now + upcoming.after_s
            time.sleep(_LOOK_S)
        self.faults.append("the study has not ended in time")

    def end(self) -> list[str]:
        """End what is left; what that was."""
        self.disturber.undo(all_of_it=True)
        if self._launcher is not None and self._launcher.poll() is None:
            os.kill(self._launcher.pid, signal.SIGKILL)
            self._launcher.wait(_GONE_S)
        left = all_gone(self.run_dir, _GONE_S)
        for process in left:
            signal_one(process, signal.SIGKILL)
        return [f"left behind: {process.role} of {process.name}" for process in left]

    def _start(self, *arguments: str) -> None:
        log = self.folder / f"launcher-{self.num_resumes}.log"
        place = [f"run_dir={self.run_dir}"] if arguments[0] == "run" else []
        with log.open("wb") as stream:
            self._launcher = subprocess.Popen(
                [*COMMAND, arguments[0], *place, *arguments[1:]],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**environment(), "TMPDIR": str(self.folder)},
                start_new_session=True,
            )
        self.disturber.launcher = self._launcher.pid

    def _goes_on(self, code: int) -> bool:
        """After the end of a launcher: whether another one takes over."""
        if code == -signal.SIGKILL or self._wants_room():
            self.disturber.undo(all_of_it=True)  # whoever resumes for want of room has made some
            self.num_resumes += 1
            self._start("resume", str(self.run_dir), f"launcher.num_server_ranks={self.num_server_ranks}")
            return True
        return False

    def _wants_room(self) -> bool:
        """Whether the study has stopped because the disk was full, and can go on."""
        was_full = any(hit.kind is Kind.FULL_DISK for hit in self.disturber.hits)
        said = (self.folder / f"launcher-{self.num_resumes}.log").read_text(errors="replace")
        return was_full and any(words in said for words in _NO_ROOM)
