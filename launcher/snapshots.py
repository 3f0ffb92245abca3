"""Snapshots of a study, taken now and then by the launcher's loop, and written by a thread of their own.

The loop copies what may change, some ten bytes of each simulation, which takes milliseconds for a million of them; the
thread writes that and the parameters aside, waits for the disk, and puts it in the place of the one before. A snapshot
only saves time (`melissa_like.study.snapshots`), so whatever fails is told and costs the study nothing.
"""

import os
import sys
import threading
from contextlib import suppress
from types import TracebackType

from melissa_like.study import Journal, Launches, Replayed, SnapshotContent, StudyState
from melissa_like.study.journal import sync_journal
from melissa_like.study.snapshots import SNAPSHOT_FILE, SnapshotUnusableError

__all__ = ["EVENTS_PER_SNAPSHOT", "Snapshots"]

#: Events between two snapshots: what a resume replays at most takes about a second.
EVENTS_PER_SNAPSHOT = 200_000
#: With very many simulations less often, so that a snapshot costs less writing per event than the journal.
_SIMULATIONS_PER_EVENT = 4
_CLOSE_S = 1.0


class Snapshots:
    """Takes them; a context of the launcher's loop.

    Args:
        state: of the study.
        journal: of this launcher, open.
        replayed: what the study goes on with; None: it begins.
        every: events between two.

    Attributes:
        num_written: so far.
    """

    def __init__(
        self, state: StudyState, journal: Journal, replayed: Replayed | None, every: int = EVENTS_PER_SNAPSHOT
    ) -> None:
        self._state = state
        self._journal = journal
        self._replayed = replayed
        self._first = state.settings if replayed is None else replayed.first
        self._every = every
        self._path = journal.folder / SNAPSHOT_FILE
        self._taken_at = 0 if replayed is None else -replayed.num_events  # in entries appended by this launcher
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._num_problems = 0
        self.num_written = 0

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the one that is being written; the one before stays."""
        self._leaving.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    @property
    def problem(self) -> str | None:
        """What could not be written, in one line; None if all could."""
        if not self._num_problems:
            return None
        more = f" ({self._num_problems} times; the last time is shown)" if self._num_problems > 1 else ""
        return f"{self._path}, which makes a resume faster, could not be written{more}: {self._problem}"

    def take_if_due(self) -> None:
        """Take one if enough has happened since the last; to be called between two events, from the loop."""
        journal, state = self._journal, self._state
        every = max(self._every, len(state.ledger) // _SIMULATIONS_PER_EVENT)
        if journal.num_appended - self._taken_at < every or state.outcome is not None or journal.is_broken:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._taken_at = journal.num_appended
        try:
            content = SnapshotContent(state, journal.folder, self._launches(), journal.num_bytes)
        except (OSError, SnapshotUnusableError) as error:
            self._note(error)
            return
        self._thread = threading.Thread(target=self._write, args=(content,), name="snapshot", daemon=True)
        self._thread.start()

    def _launches(self) -> Launches:
        before, journal = self._replayed, self._journal
        assert journal.first_at_s is not None, "nothing has happened yet"
        assert journal.last_at_s is not None, "nothing has happened yet"
        return Launches(
            first=self._first,
            num_resumes=0 if before is None else before.num_resumes + 1,
            earlier_s=0.0 if before is None else before.seconds,
            began_at_s=journal.first_at_s,
            last_at_s=journal.last_at_s,
        )

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _write(self, content: SnapshotContent) -> None:
        aside = self._path.with_suffix(".snapshot.tmp")
        try:
            with aside.open("wb", buffering=0) as file:
                for piece in content.pieces():
                    if self._leaving.is_set():
                        break
                    _write_all(file.fileno(), piece)
                else:
                    os.fsync(file.fileno())
                    sync_journal(self._journal.folder)  # else it may be ahead of the journal after a crash
                    aside.replace(self._path)
                    self.num_written += 1
                    return
        except Exception as error:  # it must not end in silence
            self._note(error)
        with suppress(OSError):  # of no use to anybody; perhaps the folder cannot be written any more
            aside.unlink(missing_ok=True)

    def _note(self, error: Exception) -> None:
        self._num_problems += 1
        self._problem = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"WARNING: a snapshot could not be written, the study goes on without: {self._problem}\n")


def _write_all(file: int, piece: bytes | memoryview) -> None:
    left = memoryview(piece)
    while left.nbytes:
        left = left[os.write(file, left) :]
