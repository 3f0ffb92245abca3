"""A study as its journal tells it: what another launcher goes on with."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.study.events import Resumed, StudyStarted
from melissa_like.study.journal import JOURNAL_FILE, Entry, read_journal
from melissa_like.study.settings import StudySettings
from melissa_like.study.snapshots import SNAPSHOT_FILE, Launches, SnapshotUnusableError, Taken, read_snapshot
from melissa_like.study.state import StudyState

__all__ = ["Replayed", "replay"]

_BREATHE_EVERY = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a journal has led to.

    Attributes:
        state: after its last event.
        first: the settings of the first launcher.
        num_resumes: how often another launcher went on.
        seconds: that the launchers ran, together.
        num_events: that were handled again: those since the newest snapshot, or all.
    """

    state: StudyState
    first: StudySettings
    num_resumes: int
    seconds: float
    num_events: int


def replay(
    run_dir: Path,
    meanwhile: Callable[[], None] = lambda: None,
    warn: Callable[[str], object] = lambda text: None,
) -> Replayed | None:
    """Handle the events of a journal again; None if no launcher came so far as to write one.

    A million events take some seconds, so only those since the newest snapshot are, if there is a sound one.

    Args:
        run_dir: of the study.
        meanwhile: called every now and then.
        warn: told of a snapshot that is of no use.

    Raises:
        ConfigurationError: there is no journal, or it is damaged.
    """
    with _uncollected():
        return _replay(run_dir, _newest_snapshot(run_dir, warn), meanwhile)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, where nothing is made that needs it: millions of objects come and go."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _newest_snapshot(run_dir: Path, warn: Callable[[str], object]) -> Taken | None:
    try:
        return read_snapshot(run_dir)
    except SnapshotUnusableError as error:
        warn(f"{run_dir / SNAPSHOT_FILE} is passed over, and the whole journal is replayed: {error}")
        return None


def _replay(run_dir: Path, taken: Taken | None, meanwhile: Callable[[], None]) -> Replayed | None:
    entries = read_journal(run_dir, 0 if taken is None else taken.journal_bytes)
    if taken is None:
        begun = next(entries, None)
        if begun is None:
            return None
        state, launches = _begin(begun, run_dir)
    else:
        state, launches = taken.state, taken.launches
    num_resumes, earlier_s = launches.num_resumes, launches.earlier_s
    began_at, last_at, num_events = launches.began_at_s, launches.last_at_s, 0
    while block := tuple(islice(entries, _BREATHE_EVERY)):
        for entry in block:
            event, at_s = entry.event, entry.at_s
            if isinstance(event, Resumed):
                earlier_s += last_at - began_at
                num_resumes += 1
                began_at = at_s
            state.handle(event, at_s)
            last_at = at_s
        num_events += len(block)
        meanwhile()
    return Replayed(
        state=state,
        first=launches.first,
        num_resumes=num_resumes,
        seconds=earlier_s + last_at - began_at,
        num_events=num_events,
    )


def _begin(begun: Entry, run_dir: Path) -> tuple[StudyState, Launches]:
    """The study after its first entry."""
    event, at_s = begun.event, begun.at_s
    if not isinstance(event, StudyStarted):
        raise ConfigurationError(
            f"{run_dir / JOURNAL_FILE} begins with {type(event).__name__} and not with the start of a study: its "
            "beginning was cut off; put the file back from a copy"
        )
    state = StudyState(event.settings)
    state.handle(event, at_s)
    return state, Launches(first=event.settings, num_resumes=0, earlier_s=0.0, began_at_s=at_s, last_at_s=at_s)
