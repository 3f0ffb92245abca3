"""The thread of a `StepsExecutor`: it asks Slurm about steps, one `squeue` for all of them, and has news dealt with."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from melissa_like.launcher.executors.step_words import steps_listed

__all__ = ["Look", "StepWatch", "read_output"]

_COMMAND_S = 30.0  # for one command: a busy controller may take long
_OUTPUT_BYTES = 16 * 1024
_CLOSE_S = 5.0
_IDLE_S = 60.0  # it is woken; this only bounds its wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one time.

    Attributes:
        number: of the look; one that was asked for after something had happened shows what came of it.
        steps: ids of the steps that there are, by name; None: Slurm did not answer.
        outputs: what jobs that were asked for have printed so far, by the name of the step.
    """

    number: int
    steps: Mapping[str, str] | None
    outputs: Mapping[str, str] = field(default_factory=dict)


def read_output(log: Path, begin: int) -> str:
    """The first words that a job has printed; empty if there are none, or if they cannot be read now.

    Args:
        log: of the job.
        begin: where they begin, in bytes.
    """
    try:
        with log.open("rb") as file:
            file.seek(begin)
            return file.read(_OUTPUT_BYTES).decode(errors="replace")
    except OSError:
        return ""


class StepWatch:
    """Looks when it is asked to, and sends signals to steps.

    Args:
        commands: folder of squeue and scancel; empty: they are on PATH.
        deal: called after each look and each nudge, on the watch's thread.
        on_failure: called when that has raised, or the thread has ended otherwise.

    Attributes:
        failure: what has ended the thread; None: it has not ended by itself.
    """

    def __init__(self, commands: str, deal: Callable[[], None], on_failure: Callable[[], None]) -> None:
        self._commands = commands
        self._deal = deal
        self._on_failure = on_failure
        self.failure: BaseException | None = None
        self._changed = threading.Condition()  # guards all below
        self._due: float | None = None
        self._logs: dict[str, tuple[Path, int]] = {}
        self._signals: list[tuple[str, str]] = []
        self._begun = 0
        self._newest: Look | None = None
        self._nudged = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="slurm-steps", daemon=True)

    def start(self) -> None:
        """Begin to wait for questions."""
        self._thread.start()

    def close(self) -> None:
        """Send what is to be sent and end the thread; blocks until then, or for the time of one command."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_COMMAND_S + _CLOSE_S)

    def nudge(self) -> None:
        """There is news; from any thread."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def ask(self, delay_s: float, logs: Mapping[str, tuple[Path, int]]) -> None:
        """Want a look within so many seconds.

        Args:
            delay_s: at the latest.
            logs: files, and where to begin, of jobs whose output is to be read; by the name of the step.
        """
        with self._changed:
            due = time.monotonic() + delay_s
            self._due = due if self._due is None else min(due, self._due)
            self._logs = dict(logs)
            self._changed.notify()

    @property
    def next_number(self) -> int:
        """The number of the first look that begins after now."""
        with self._changed:
            return self._begun + 1

    def signal(self, step: str, number: str) -> None:
        """Send a signal to all processes of a step; soon, and if Slurm answers.

        Args:
            step: its id.
            number: of the signal, or its name.
        """
        with self._changed:
            self._signals.append((step, number))
            self._changed.notify()

    def take(self) -> Look | None:
        """The newest look, once; None if there is no new one."""
        with self._changed:
            newest, self._newest = self._newest, None
            return newest

    def look(self) -> Look:
        """Look now, on the caller's thread; blocks until Slurm has answered."""
        return self._look_at({})

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # surfaces in the next `poll`, and in `close`
            self.failure = error
            self._on_failure()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._signals and not self._closing and not self._nudged and not self._is_due():
                    self._changed.wait(_IDLE_S if self._due is None else max(0.0, self._due - time.monotonic()))
                signals, self._signals, self._nudged = self._signals, [], False
                if self._closing and not signals:
                    return
                logs = self._logs if self._is_due() else None
                if logs is not None:
                    self._due = None
            for number in sorted({number for _, number in signals}):
                self._ran("scancel", f"--signal={number}", *(step for step, sent in signals if sent == number))
            if logs is not None:
                look = self._look_at(logs)
                with self._changed:
                    self._newest = look
            self._deal()

    def _is_due(self) -> bool:
        return self._due is not None and time.monotonic() >= self._due

    def _look_at(self, logs: Mapping[str, tuple[Path, int]]) -> Look:
        with self._changed:
            self._begun += 1
            number = self._begun
        listed = self._ran("squeue", "--steps", "--noheader", f"--user={os.getuid()}", "--format=%i %j")
        outputs = {name: read_output(log, begin) for name, (log, begin) in logs.items()}
        return Look(number=number, steps=None if listed is None else steps_listed(listed), outputs=outputs)

    def _ran(self, name: str, *arguments: str) -> str | None:
        """What a command of Slurm printed; None if it failed, was not there, or took too long."""
        command = (os.path.join(self._commands, name), *arguments)
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_S, check=False, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ran.stdout if ran.returncode == 0 else None
