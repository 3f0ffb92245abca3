"""How many jobs a scheduler takes of a user, found out by being refused."""

__all__ = ["Room"]

_GROW_S = 20.0
_NO_LIMIT = 10**9


class Room:
    """Halves what is tried when the scheduler has too many, and tries a quarter more every twenty seconds."""

    def __init__(self) -> None:
        self._limit = _NO_LIMIT
        self._grow_at = 0.0

    def left(self, num_alive: int, now: float) -> int:
        """So many jobs more may be tried."""
        if self._limit < _NO_LIMIT and now >= self._grow_at:
            self._limit += max(1, self._limit // 4)
            self._grow_at = now + _GROW_S
        return max(0, self._limit - num_alive)

    def refuse(self, num_alive: int, num_more: int, now: float) -> None:
        """So many more were too many."""
        self._limit = num_alive + num_more // 2
        self._grow_at = now + _GROW_S
