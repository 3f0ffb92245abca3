"""The live view of a study in a terminal, and plain lines where there is none. Owned by the launcher's loop."""

import sys
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from melissa_like.config import shown

__all__ = ["LiveView", "PlainView", "StudySnapshot", "View", "view_for"]

_LINE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySnapshot:
    """What one look at a study shows. Rates are samples per second, times seconds, losses as reported.

    Attributes:
        capacity: of the buffers, in samples.
        buffer_bytes: that they take, where sizes differ.
        capacity_nbytes: that they may take then; None: sizes do not differ.
        pending: how many jobs and server ranks wait for their scheduler, by its reason, the most frequent first.
    """

    name: str
    elapsed_s: float
    remaining_s: float | None
    num_simulations: int
    complete: int
    running: int
    given_up: int
    jobs: int
    samples_expected: int
    samples_delivered: int
    samples_in_per_s: float
    samples_out_per_s: float
    capacity: int
    seen: int
    unseen: int
    batches: int
    training_loss: float | None
    validation_relative_l2: float | None
    rollout_relative_l2: float | None
    phase: str
    buffer_bytes: int = 0
    capacity_nbytes: int | None = None
    pending: dict[str, int] = field(default_factory=dict)

    @property
    def filled(self) -> float:
        """The share of the buffers that is full, 0 to 1."""
        if self.capacity_nbytes is not None:
            return self.buffer_bytes / max(1, self.capacity_nbytes)
        return (self.seen + self.unseen) / max(1, self.capacity)


class View(Protocol):
    """Shows snapshots."""

    def show(self, snapshot: StudySnapshot) -> None:
        """Show the present state."""
        ...

    def close(self) -> None:
        """Leave the last state on the screen."""
        ...


def view_for(stream: TextIO) -> View:
    """The live view on a terminal, plain lines otherwise."""
    return LiveView(Console(file=stream)) if stream.isatty() else PlainView(stream)


class PlainView:
    """One line every few seconds, and one whenever the phase changes."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._shown_at: float | None = None
        self._phase = ""

    def show(self, snapshot: StudySnapshot) -> None:
        """Print a line if it is time for one."""
        due = self._shown_at is None or snapshot.elapsed_s - self._shown_at >= _LINE_EVERY_S
        if not due and snapshot.phase == self._phase:
            return
        self._shown_at, self._phase = snapshot.elapsed_s, snapshot.phase
        self._stream.write(_line(snapshot) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to do."""


class LiveView:
    """A table redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, snapshot: StudySnapshot) -> None:
        """Redraw."""
        self._live.update(_screen(snapshot), refresh=True)

    def close(self) -> None:
        """Stop redrawing."""
        self._live.stop()


def _number(value: float | None, pattern: str = "{:.3g}") -> str:
    return "–" if value is None else pattern.format(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _errors(s: StudySnapshot) -> str:
    """Of held-out samples, and of roll-outs where there are some."""
    rolled = "" if s.rollout_relative_l2 is None else f" (roll-out {_percent(s.rollout_relative_l2)})"
    return _percent(s.validation_relative_l2) + rolled


def _waiting(s: StudySnapshot) -> str:
    """How many wait for the scheduler, and why; empty if none does."""
    told = ((f"{count} wait" if count > 1 else "1 waits", why) for why, count in s.pending.items())
    return ", ".join(f"{how_many} for the scheduler ({why})" for how_many, why in told)


def _buffer(s: StudySnapshot) -> str:
    """What the buffers hold, and of what."""
    if s.capacity_nbytes is None:
        return f"{s.seen} seen + {s.unseen} unseen of {s.capacity}"
    return f"{s.seen} seen + {s.unseen} unseen, {shown(s.buffer_bytes)} of {shown(s.capacity_nbytes)}"


def _line(s: StudySnapshot) -> str:
    line = (
        f"[{_duration(s.elapsed_s)}] {s.phase}: simulations {s.complete}/{s.num_simulations} ({s.running} running), "
        f"samples in {s.samples_delivered}/{s.samples_expected} ({s.samples_in_per_s:.0f}/s), trained "
        f"{s.samples_out_per_s:.0f}/s in {s.batches} steps, buffer {_buffer(s)}, "
        f"loss {_number(s.training_loss)}, validation {_errors(s)}"
    )
    return f"{line}, {_waiting(s)}" if s.pending else line


def _screen(s: StudySnapshot) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(width=32)
    table.add_column()
    table.add_row(
        "simulations",
        ProgressBar(total=max(1, s.num_simulations), completed=s.complete + s.given_up, width=30),
        f"{s.complete} of {s.num_simulations} complete, {s.running} running in {s.jobs} jobs, {s.given_up} given up",
    )
    table.add_row(
        "samples",
        ProgressBar(total=max(1, s.samples_expected), completed=s.samples_delivered, width=30),
        f"{s.samples_delivered} of {s.samples_expected}, in {s.samples_in_per_s:.0f}/s, "
        f"trained on {s.samples_out_per_s:.0f}/s",
    )
    table.add_row(
        "buffer",
        ProgressBar(total=1.0, completed=s.filled, width=30),
        _buffer(s),
    )
    table.add_row(
        "training",
        Text(f"{s.batches} steps"),
        f"loss {_number(s.training_loss)}, validation error {_errors(s)}",
    )
    if s.pending:
        table.add_row("queue", Text(f"{sum(s.pending.values())} wait"), _waiting(s))
    table.add_row("time", Text(_duration(s.elapsed_s)), f"left {_duration(s.remaining_s)}")
    return Group(Text(f"{s.name} · {s.phase}", style="bold"), table)
