"""A study as its journal tells it: what another launcher goes on with."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.study.events import Resumed, StudyStarted
from melissa_like.study.journal import JOURNAL_FILE, read_journal
from melissa_like.study.settings import StudySettings
from melissa_like.study.state import StudyState

__all__ = ["Replayed", "replay"]

_BREATHE_EVERY = 10_000


@dataclass(slots=True, kw_only=True)
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
    num_resumes: int = 0
    seconds: float = 0.0


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
    replayed: Replayed | None = None
    began_at = last_at = 0.0
    for number, entry in enumerate(read_journal(run_dir)):
        event = entry.event
        if replayed is None:
            if not isinstance(event, StudyStarted):
                raise ConfigurationError(
                    f"{run_dir / JOURNAL_FILE} begins with {type(event).__name__} and not with the start of a study: "
                    "its beginning was cut off; put the file back from a copy"
                )
            replayed = Replayed(state=StudyState(event.settings), first=event.settings)
            began_at = entry.at_s
        elif isinstance(event, Resumed):
            replayed.seconds += last_at - began_at
            replayed.num_resumes += 1
            began_at = entry.at_s
        replayed.state.handle(event, entry.at_s)
        last_at = entry.at_s
        if number % _BREATHE_EVERY == 0:
            meanwhile()
    if replayed is not None:
        replayed.seconds += last_at - began_at
    return replayed
