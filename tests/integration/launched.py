"""A command that runs, to be watched, sent signals, and awaited."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.studies import COMMAND, Ran, environment


class Launched:
    """A `melissa-like` that runs: its error stream has a line for each phase of the study.

    Args:
        run_dir: of the study.
        arguments: behind the command's name.
        start: like `subprocess.Popen`, which starts it on this host; `tests.slurm.Host.start` starts it on another.
    """

    def __init__(
        self, run_dir: Path, *arguments: str, start: Callable[..., "subprocess.Popen[str]"] = subprocess.Popen
    ) -> None:
        self.run_dir = run_dir
        self._err: list[str] = []
        self._process = start(
            [*COMMAND, *arguments],
            cwd=run_dir.parent,
            env={**environment(), "TMPDIR": str(run_dir.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, word: str) -> str:
        """The next line of its error stream with a word in it."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._err.append(line)
            if word in line:
                return line
        raise AssertionError(f"it ended before it said {word!r}: {self._err}")

    def send(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self, timeout_s: float = 90.0) -> Ran:
        out, err = self._process.communicate(timeout=timeout_s)
        return Ran(self._process.returncode, out, "".join(self._err) + err, self.run_dir)

    def end(self) -> None:
        """At the end of a test, whatever came of it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.communicate(timeout=30.0)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def launched(
    run_dir: Path,
    *overrides: str,
    command: str = "run",
    start: Callable[..., "subprocess.Popen[str]"] = subprocess.Popen,
) -> Iterator[Launched]:
    """`melissa-like run run_dir=... OVERRIDES`, or `melissa-like resume RUN_DIR OVERRIDES`, in the background."""
    place = f"run_dir={run_dir}" if command == "run" else str(run_dir)
    running = Launched(run_dir, command, place, *overrides, start=start)
    try:
        yield running
    finally:
        running.end()


def resume(run_dir: Path, *overrides: str, timeout_s: float = 90.0) -> Ran:
    """`melissa-like resume RUN_DIR OVERRIDES`, to its end."""
    with launched(run_dir, *overrides, command="resume") as running:
        return running.wait(timeout_s)
