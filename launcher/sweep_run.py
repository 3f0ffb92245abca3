"""Runs the studies of a sweep, some at a time, each by a process of its own; this one only starts, hears and waits.

One study at a time has the terminal to itself. What several say comes through pipes, and is passed on line by line with
the number of its study in front.
"""

import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from melissa_like.launcher.exit_codes import INTERRUPTED, OUT_OF_TIME
from melissa_like.launcher.sweep import Sweep
from melissa_like.launcher.sweep_study import Ended, command_of, ended_of
from melissa_like.launcher.sweep_words import PassedOn, say, swept_words

__all__ = ["run_studies"]

_LOOK_EVERY_S = 1.0
#: For a process to end that has said how its study ended, or was told to end it.
_GONE_S = 120.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def run_studies(
    sweep: Sweep, due: Sequence[int], *, at_a_time: int, overrides: Sequence[str], keep_lease: Callable[[], None]
) -> int:
    """Run studies until all of them have ended, or an interruption has ended those that run; the worst exit code.

    Args:
        sweep: that they are of.
        due: their numbers.
        at_a_time: as many run at once.
        overrides: of what may change in a study that goes on.
        keep_lease: called about once a second.

    Raises:
        LeaseError: another process works on the sweep; the studies have been ended.
        ConfigurationError: the table cannot be written; the studies have been ended.
    """
    return _Turns(sweep, due, at_a_time, overrides, keep_lease).run()


@dataclass(slots=True, kw_only=True)
class _Running:
    """A study whose process lives.

    Attributes:
        heard: what it has said of its end, so far.
        streams: its output and its errors, if these are passed on.
    """

    number: int
    process: subprocess.Popen[bytes]
    heard: bytearray = field(default_factory=bytearray)
    streams: tuple[PassedOn, ...] = ()


class _Turns:
    def __init__(
        self, sweep: Sweep, due: Sequence[int], at_a_time: int, overrides: Sequence[str], keep_lease: Callable[[], None]
    ) -> None:
        self._sweep = sweep
        self._due = deque(due)
        self._at_a_time = at_a_time
        self._overrides = overrides
        self._keep_lease = keep_lease
        self._shares_terminal = at_a_time == 1 or len(due) == 1
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}
        self._ends = False
        self._code = 0

    def run(self) -> int:
        """See `run_studies`."""
        with self._selector, self._signals():
            try:
                while self._running or (self._due and not self._ends):
                    self._keep_lease()
                    self._start_those_due()
                    self._hear()
            except BaseException:
                self._end_all(signal.SIGTERM)
                for study in self._running.values():
                    _await_end(study.process)
                raise
        return self._code

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Each signal goes to all studies, which end in order; they are not of the terminal's process group."""
        before = {number: signal.signal(number, lambda n, _: self._end_all(n)) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def _end_all(self, number: int) -> None:
        self._ends = True
        in_time = number == signal.SIGUSR1  # as each launcher takes it
        self._code = max(self._code, OUT_OF_TIME if in_time else INTERRUPTED)
        for study in self._running.values():
            study.process.send_signal(number)

    # -- the studies --------------------------------------------------------------------------------------------------

    def _start_those_due(self) -> None:
        while self._due and len(self._running) < self._at_a_time and not self._ends:
            self._start(self._due.popleft())

    def _start(self, number: int) -> None:
        row, folder = self._sweep.rows[number], self._sweep.folder
        run_dir = folder / row.folder
        say(sys.stderr, f"study {number} of {len(self._sweep.rows)}: {swept_words(row)} ({run_dir})\n")
        self._sweep.begin(number)
        hears, tells = os.pipe()
        passed_on = None if self._shares_terminal else subprocess.PIPE
        try:
            process = subprocess.Popen(
                command_of(folder, number, run_dir, self._overrides, tells),
                stdin=subprocess.DEVNULL,
                stdout=passed_on,
                stderr=passed_on,
                pass_fds=(tells,),
                process_group=0,
            )
        finally:
            os.close(tells)
        self._running[number] = study = _Running(number=number, process=process)
        os.set_blocking(hears, False)
        self._selector.register(hears, selectors.EVENT_READ, lambda: self._hear_end(hears, study))
        study.streams = tuple(
            self._pass_on(number, stream.fileno(), to)
            for stream, to in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
            if stream is not None
        )

    def _pass_on(self, number: int, source: int, to: TextIO) -> PassedOn:
        stream = PassedOn(source, to, f"study {number}: ")
        self._selector.register(source, selectors.EVENT_READ, lambda: self._pass_lines(stream))
        return stream

    def _hear(self) -> None:
        for key, _ in self._selector.select(_LOOK_EVERY_S):
            if self._selector.get_map().get(key.fd) is key:  # the end of a study closes its streams too
                key.data()

    def _pass_lines(self, stream: PassedOn) -> None:
        if not stream.read():
            self._selector.unregister(stream.source)

    def _hear_end(self, source: int, study: _Running) -> None:
        """The pipe of a study is closed by its end alone, whatever it has said before."""
        said = os.read(source, 65536)
        if said:
            study.heard += said
            return
        self._selector.unregister(source)
        os.close(source)
        code = _await_end(study.process)
        for stream in study.streams:
            stream.read()
            stream.close()
            if stream.source in self._selector.get_map():
                self._selector.unregister(stream.source)
        for pipe in (study.process.stdout, study.process.stderr):
            if pipe is not None:
                pipe.close()
        del self._running[study.number]
        self._note(study.number, ended_of(bytes(study.heard), code))

    def _note(self, number: int, ended: Ended) -> None:
        self._sweep.end(number, ended.outcome, ended.reason, ended.figures)
        self._code = max(self._code, ended.code)
        if ended.code == INTERRUPTED and not self._ends:  # by somebody who has signaled this study alone
            self._end_all(signal.SIGINT)


def _await_end(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process that is about to end; one that does not is killed."""
    try:
        return process.wait(_GONE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(_GONE_S)
