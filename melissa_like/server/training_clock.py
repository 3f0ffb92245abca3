"""How long the training has been at one thing, and whether that is too long. No clock here: the time is an argument."""

from dataclasses import dataclass, replace

__all__ = ["TrainingClock"]

#: How much longer a rank may take that only waits for the others, so that the one which keeps them waiting is named.
_WAITING_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the trainer's thread does.

    Attributes:
        what: in words.
        since: when that began, or last showed a sign of life.
        limit_s: how long it may take.
        has_data: a batch is there; without one a rank can only wait for the others.
    """

    what: str
    since: float
    limit_s: float
    has_data: bool = True


class TrainingClock:
    """Times the turns of a training, whatever loop takes them.

    A loop holds a turn from when it is handed out until it asks for the next: that is its training step, with whatever
    else the loop does then. While it waits for a turn, nothing is timed as long as samples may be missing; but where a
    put waits, they are there, and whoever prepares the turn hangs.

    The methods of the trainer's thread set a single reference, which the control thread reads; so no lock is needed.

    Args:
        timeout_s: for a training step.
        first_s: how much longer the first one may take, and what comes before it: a network may be compiled.
    """

    def __init__(self, timeout_s: float, *, first_s: float) -> None:
        self._timeout_s = timeout_s
        self._first_s = first_s
        self._num_turns = 0
        self._stage: _Stage | None = None
        self._waiting_since: float | None = None
        self._pressed_since: float | None = None

    # -- on the trainer's thread --------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The loop is called."""
        self._stage = _Stage("what its loop does before the first training step", now, self._limit_s)

    def ask(self, now: float) -> None:
        """The loop asks for a turn."""
        self._stage, self._waiting_since = None, now

    def hand_out(self, now: float, *, has_data: bool) -> None:
        """The loop is given a turn."""
        self._waiting_since = None
        limit_s = self._limit_s
        self._num_turns += 1
        self._stage = _Stage(f"its training step {self._num_turns}", now, limit_s, has_data)

    def move(self, now: float) -> None:
        """Something has come forward within a stage, as a validation that takes long."""
        if self._stage is not None:
            self._stage = replace(self._stage, since=now)

    def run_out(self, now: float) -> None:
        """The loop was told that no turn follows."""
        self._waiting_since = None
        self._stage = _Stage("what its loop does after the last training step", now, self._limit_s)

    def hand_in(self, now: float) -> None:
        """The loop has returned, and what it has trained is saved and drawn."""
        self._stage = _Stage("saving what was trained", now, self._limit_s)

    def end(self) -> None:
        """That is done, or the loop has returned."""
        self._stage = self._waiting_since = None

    # -- on the control thread ----------------------------------------------------------------------------------------

    def overdue(self, now: float, *, put_waits: bool, waits_for_others: bool) -> str | None:
        """What has taken too long, in words; None while nothing has.

        Args:
            now: on the clock of the other methods.
            put_waits: a sample waits for room in the buffer.
            waits_for_others: the thread in question is in a collective of the server ranks.
        """
        if not put_waits:
            self._pressed_since = None
        elif self._pressed_since is None:
            self._pressed_since = now
        stage = self._stage or self._stalled_loading()
        if stage is None:
            return None
        waits = waits_for_others or not stage.has_data
        limit_s = stage.limit_s * (_WAITING_FACTOR if waits else 1.0)
        if now - stage.since <= limit_s:
            return None
        others = ", waiting for the other server ranks" if waits else ""
        return f"{stage.what} has taken more than {limit_s:g} s{others}"

    def _stalled_loading(self) -> _Stage | None:
        waiting_since, pressed_since = self._waiting_since, self._pressed_since
        if waiting_since is None or pressed_since is None:
            return None
        what = "preparing a batch, though the buffer is full,"
        return _Stage(what, max(waiting_since, pressed_since), self._limit_s)

    @property
    def holds_turn(self) -> bool:
        """Whether the trainer's thread is at work, and not waiting for a turn."""
        return self._stage is not None

    @property
    def _limit_s(self) -> float:
        return self._timeout_s + (0.0 if self._num_turns else self._first_s)
