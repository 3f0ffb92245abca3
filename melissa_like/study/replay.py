"""A study as its journal tells it: what another launcher goes on with."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.study.events import Resumed, StudyStarted
from melissa_like.study.journal import JOURNAL_FILE, read_journal
from melissa_like.study.settings import StudySettings
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
    """

    state: StudyState
    first: StudySettings
    num_resumes: int
    seconds: float


def replay(run_dir: Path, meanwhile: Callable[[], None] = lambda: None) -> Replayed | None:
    """Handle all events of a journal again; None if no launcher came so far as to write one.

    A million events take some seconds.

    Args:
        run_dir: of the study.
        meanwhile: called every now and then.

    Raises:
        ConfigurationError: there is no journal, or it is damaged.
    """
    with _uncollected():
        return _replay(run_dir, meanwhile)


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


def _replay(run_dir: Path, meanwhile: Callable[[], None]) -> Replayed | None:
    entries = read_journal(run_dir)
    first = next(entries, None)
    if first is None:
        return None
    if not isinstance(first.event, StudyStarted):
        raise ConfigurationError(
            f"{run_dir / JOURNAL_FILE} begins with {type(first.event).__name__} and not with the start of a study: its "
            "beginning was cut off; put the file back from a copy"
        )
    state, settings = StudyState(first.event.settings), first.event.settings
    seconds, num_resumes, began_at, last_at = 0.0, 0, first.at_s, first.at_s
    state.handle(first.event, first.at_s)
    while block := tuple(islice(entries, _BREATHE_EVERY)):
        for entry in block:
            event, at_s = entry.event, entry.at_s
            if isinstance(event, Resumed):
                seconds += last_at - began_at
                num_resumes += 1
                began_at = at_s
            state.handle(event, at_s)
            last_at = at_s
        meanwhile()
    return Replayed(state=state, first=settings, num_resumes=num_resumes, seconds=seconds + last_at - began_at)
