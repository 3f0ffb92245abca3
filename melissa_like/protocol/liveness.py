"""Whether the other side of a control connection still answers: a pure object, the time is an argument."""

__all__ = ["Liveness"]

#: Of the time-out, how long the other side may be silent before it is asked for a sign of life.
_ASK_AFTER = 0.1


class Liveness:
    """Of a peer that answers every numbered message.

    It is not silence that counts, for nobody may have asked or listened, but a question that stays without an answer.

    Args:
        timeout_s: a peer that lets a question wait for so long is gone.
        now: the time.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._heard_at = now
        self._asked_at: float | None = None

    def hear(self, now: float) -> None:
        """Something has come of it."""
        self._heard_at, self._asked_at = now, None

    def asks(self, now: float) -> bool:
        """Whether a numbered message must be sent now, as a question; call it when all that waits is read."""
        if self._asked_at is not None or now - self._heard_at < _ASK_AFTER * self._timeout_s:
            return False
        self._asked_at = now
        return True

    def is_gone(self, now: float) -> bool:
        """Whether the question was not answered in time; call it when all that waits is read."""
        return self._asked_at is not None and now - self._asked_at >= self._timeout_s
