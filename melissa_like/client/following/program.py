"""The program of one simulation: started in its folder, listened to, ended with all that it has started."""

import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from melissa_like.client.following.tree import Tree, die_with_parent
from melissa_like.errors import ConfigurationError

__all__ = ["Program", "end_in_words"]

_MARK_VARIABLE = "MELISSA_LIKE_PROGRAM"
_MOST_AT_ONCE_BYTES = 2**16
_KEPT_LINES = 20
#: Of lines that nobody asks for; whoever does so after each wait misses none.
_MOST_LINES = 100_000
_MANY_LINES = 10_000
_LONGEST_LINE = 2**20
_SHELL_SIGNAL = 128
_SHELL_WORDS = {126: "the shell could not execute a program", 127: "the shell did not find a program"}


class Program:
    """Runs a command; what it prints goes on to the output of this process, which is the log of the job.

    Use it as a context manager: at its end no process of the program is left. One thread uses it; `/proc` must be
    there.

    Args:
        command: the program and its arguments.
        folder: in which it runs.
        environment: variables added to this process's.
        grace_s: between SIGTERM and SIGKILL, when it is ended.
        log: where its stdout and stderr go on to; by default this process's.

    Attributes:
        command: the program and its arguments.
        folder: in which it runs.
        returncode: as that of `subprocess.Popen`; None while it runs.
        tree: its processes, once it was started.

    Raises:
        ConfigurationError: on entry: there is no such program, or it cannot be executed.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 5.0,
        log: BinaryIO | None = None,
    ) -> None:
        self.command = [*command]
        self.folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._grace_s = grace_s
        self._log = log
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._tail: deque[str] = deque(maxlen=_KEPT_LINES)
        self._begun: dict[int, bytes] = {}
        self._is_asked = False
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        mark = uuid.uuid4().hex
        try:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**self._environment, _MARK_VARIABLE: mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigurationError(
                f"the program {self.command[0]!r} cannot be started ({error.strerror}): install it, write its full "
                "path in solver.command or solver.launch, or make it executable (chmod +x)"
            ) from None
        self.tree = Tree(self._process.pid, f"{_MARK_VARIABLE}={mark}")
        self._pidfd = os.pidfd_open(self._process.pid)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(0.0 if self.returncode is not None else self._grace_s)
        self._selector.close()
        os.close(self._pidfd)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def listen(self, seconds: float) -> bool:
        """Copy what the program prints for so long, or until it ends; then nothing of it is left.

        Returns:
            Whether it runs. If not, `returncode` is known, and all that it printed has been read.
        """
        deadline = time.monotonic() + seconds
        while self.returncode is None:
            left_s = max(0.0, deadline - time.monotonic())
            for key, _ in self._selector.select(left_s):
                if key.fd == self._pidfd:
                    self.returncode = self._process.wait()
                    self._finish(0.0)
                    return False
                self._copy(key.fd)
            if left_s == 0.0 or (self._is_asked and len(self._lines) >= _MANY_LINES):
                return True
        return False

    def lines(self) -> list[str]:
        """The complete lines of stdout since the last call; of more than 100,000 the last ones."""
        self._is_asked = True
        found = [*self._lines]
        self._lines.clear()
        return found

    def last_lines(self) -> str:
        """What it has printed last, to stdout and stderr."""
        return "\n".join(self._tail)

    def _finish(self, grace_s: float) -> None:
        """End what is left of it, and read the rest of what it printed."""
        self.tree.end(grace_s)
        if self.returncode is None:
            self.returncode = self._process.wait()
        self.tree.collect()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            while self._copy(stream.fileno()):
                pass

    def _copy(self, descriptor: int) -> bool:
        """Move what is there, up to some bytes; False if nothing is, or never will be."""
        if descriptor not in self._selector.get_map():
            return False
        try:
            printed = os.read(descriptor, _MOST_AT_ONCE_BYTES)
        except BlockingIOError:
            return False
        is_stdout = self._process.stdout is not None and descriptor == self._process.stdout.fileno()
        if not printed:
            self._selector.unregister(descriptor)
            self._take(self._begun.pop(descriptor, b""), is_stdout=is_stdout)
            return False
        log = self._log or (sys.stdout if is_stdout else sys.stderr).buffer
        log.write(printed)
        log.flush()
        *complete, self._begun[descriptor] = (self._begun.get(descriptor, b"") + printed).split(b"\n")
        for line in complete:
            self._take(line, is_stdout=is_stdout, is_complete=True)
        if len(self._begun[descriptor]) > _LONGEST_LINE:
            self._take(self._begun.pop(descriptor), is_stdout=is_stdout)
        return True

    def _take(self, line: bytes, *, is_stdout: bool, is_complete: bool = False) -> None:
        if not line and not is_complete:
            return
        text = line.decode(errors="backslashreplace").removesuffix("\r")
        self._tail.append(text)
        if is_stdout:
            self._lines.append(text)


def end_in_words(returncode: int) -> str:
    """How a process ended, as `Popen.returncode` tells it: "ended with exit code 3", "was ended by SIGSEGV (...)"."""
    if returncode < 0:
        return f"was ended by {_signal_in_words(-returncode)}"
    told = f"ended with exit code {returncode}"
    if returncode in _SHELL_WORDS:
        return f"{told} (of a script: {_SHELL_WORDS[returncode]})"
    if returncode > _SHELL_SIGNAL and returncode - _SHELL_SIGNAL in {number.value for number in signal.Signals}:
        return f"{told} (of a script: a program was ended by {_signal_in_words(returncode - _SHELL_SIGNAL)})"
    return told


def _signal_in_words(number: int) -> str:
    names = {known.value: known.name for known in signal.Signals}  # real-time signals have none
    words = signal.strsignal(number)
    return f"{names.get(number, f'signal {number}')}{f' ({words})' if words else ''}"
