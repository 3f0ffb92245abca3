"""The thread that looks at the folder of a program, and stops the program while too much of it waits to be sent.

A program that nobody edits feels no back-pressure: it writes on while its follower waits for the server. So at a limit
its processes are stopped (SIGSTOP), and go on when what they wrote is sent. Processes that are not descendants of the
follower, because they run on another host or under a daemon of the scheduler, cannot be stopped: they show in that the
folder grows all the same, and then the program is ended.
"""

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from melissa_like.client.following.pending import Pending, sizes_in
from melissa_like.client.following.tree import Tree
from melissa_like.errors import ProgramFailedError

__all__ = ["Watch"]

_SHORTEST_S, _LONGEST_S = 0.02, 5.0
#: What looking may take of the time.
_SHARE = 0.1
_JOIN_S = 30.0
_GRACE_S = 2.0


class Watch:
    """Measures a folder about 50 times a second, or less often if that is much work, and stops and continues a program.

    Use it as a context manager while the program runs.

    Args:
        folder: of the simulation.
        sizes: of the input files, which were there before the program began.
        tree: the program's processes.
        limit_bytes: of what waits to be sent.

    Attributes:
        pending: what was measured.
        stopped_s: how long the program was stopped, in all.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int], tree: Tree, limit_bytes: int) -> None:
        self.pending = Pending(sizes)
        self.stopped_s = 0.0
        self._folder = folder
        self._tree = tree
        self._limit_bytes = limit_bytes
        self._news = threading.Condition()  # guards everything here
        self._is_over = False
        self._stopped_at: float | None = None
        self._has_stopped = False
        self._bytes_when_stopped: int | None = None
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._is_over = True
            self._news.notify_all()
        self._thread.join(_JOIN_S)
        self.pending.measure(sizes_in(self._folder))

    def check(self) -> None:
        """Nothing is wrong, and the program was not ended from here.

        Raises:
            ProgramFailedError: the program could not be stopped.
            BaseException: whatever ended the thread.
        """
        with self._news:
            if self._problem is not None:
                raise self._problem

    def waits(self) -> None:
        """The reader waits: all that it saw is sent, so a program that was stopped may go on.

        Raises:
            ProgramFailedError: the program could not be stopped.
            BaseException: whatever ended the thread.
        """
        with self._news:
            self.check()
            self.pending.waits()
            self._news.notify_all()

    def look(self) -> None:
        """The reader looks."""
        with self._news:
            self.pending.look()

    def _run(self) -> None:
        """Body of the thread; what ends it is raised by `waits`."""
        pause = _SHORTEST_S
        try:
            while True:
                with self._news:
                    self._news.wait_for(self._may_act, pause)
                    if self._is_over:
                        self._go_on()
                        return
                began = time.monotonic()
                sizes = sizes_in(self._folder)
                pause = min(max(_SHORTEST_S, (time.monotonic() - began) / _SHARE), _LONGEST_S)
                with self._news:
                    self.pending.measure(sizes)
                    self._judge()
                    if self._problem is not None:
                        return
        except BaseException as error:
            with self._news:
                self._problem = error

    def _may_act(self) -> bool:
        return self._is_over or (self._stopped_at is not None and self.pending.num_bytes <= self._limit_bytes)

    def _judge(self) -> None:
        if self.pending.num_bytes <= self._limit_bytes:
            self._go_on()
        elif self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._bytes_when_stopped = None
            self._has_stopped = self._tree.stop()
        elif not self._has_stopped:
            self._has_stopped = self._tree.stop()
        elif self._bytes_when_stopped is None:
            self._bytes_when_stopped = self.pending.total_bytes
        elif self.pending.total_bytes > self._bytes_when_stopped:
            self._problem = ProgramFailedError(
                f"{self.pending.num_bytes} bytes in {self._folder} wait to be sent, solver.max_pending_bytes allows "
                f"{self._limit_bytes}, and the program cannot be stopped: some of its processes run on another host, "
                "or are started by a daemon. Raise the limit, let it write less, or run it on the follower's host"
            )
            self._tree.end(_GRACE_S)  # whoever sees it end finds the problem

    def _go_on(self) -> None:
        if self._stopped_at is not None:
            self.stopped_s += time.monotonic() - self._stopped_at
            self._stopped_at = None
            self._tree.signal(signal.SIGCONT)
