"""When the scheduler is asked again."""

__all__ = ["Pace"]

_LONGEST_S = 60.0


class Pace:
    """Regularly; sooner while its next word decides something; ever more rarely while it does not answer.

    Args:
        interval_s: between two questions.
        urgent_s: the same while something hangs on the answer.
    """

    def __init__(self, interval_s: float, urgent_s: float) -> None:
        self._interval_s = interval_s
        self._urgent_s = min(urgent_s, interval_s)
        self._asked_at: float | None = None
        self._failures = 0

    def is_due(self, now: float, *, urgent: bool) -> bool:
        """Whether it is time for the next question."""
        if self._asked_at is None:
            return True
        wait = self._urgent_s if urgent else self._interval_s
        if self._failures:
            wait = min(self._interval_s * 2**self._failures, _LONGEST_S)
        return now >= self._asked_at + wait

    def ask(self, now: float) -> None:
        """A question is being asked."""
        self._asked_at = now

    def hear(self, *, answered: bool) -> None:
        """It was answered, or was not."""
        self._failures = 0 if answered else min(self._failures + 1, 10)
