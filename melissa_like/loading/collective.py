"""How server ranks exchange a few numbers: the one thing that `loading` needs from a distributed runtime."""

import threading
from typing import Protocol

import numpy as np

from melissa_like.errors import DeadlineExceededError
from melissa_like.records import FloatArray

__all__ = ["Collective", "SoloCollective", "ThreadCollective"]


class Collective(Protocol):
    """Every rank calls `all_gather` equally often with vectors of equal length; each gets the same table."""

    @property
    def rank(self) -> int:
        """This rank, from 0."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def all_gather(self, values: FloatArray) -> FloatArray:
        """Exchange one float64 vector per rank.

        Args:
            values: float64 [n], the same n on every rank.

        Returns:
            float64 [size, n]: row r is what rank r gave.

        Raises:
            DeadlineExceededError: another rank did not come in time; the collective cannot be used any more.
        """


class SoloCollective:
    """The collective of a server with one rank."""

    rank = 0
    size = 1

    def all_gather(self, values: FloatArray) -> FloatArray:
        """The vector itself as the only row, float64 [1, n]."""
        return values[np.newaxis].copy()


class ThreadCollective:
    """Ranks as threads of one process, the fake of a distributed collective: `ThreadCollective.ranks(size)` makes all.

    `all_gather` blocks until every rank has called it, `deadline_s` at most.
    """

    def __init__(self, rank: int, table: list[FloatArray], barrier: threading.Barrier, deadline_s: float) -> None:
        self._rank = rank
        self._table = table
        self._barrier = barrier
        self._deadline_s = deadline_s

    @classmethod
    def ranks(cls, size: int, *, deadline_s: float = 10.0) -> list["ThreadCollective"]:
        """One collective per rank, joined with each other."""
        table = [np.empty(0) for _ in range(size)]
        barrier = threading.Barrier(size)
        return [cls(rank, table, barrier, deadline_s) for rank in range(size)]

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self._rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return len(self._table)

    def all_gather(self, values: FloatArray) -> FloatArray:
        """See `Collective.all_gather`.

        Raises:
            DeadlineExceededError: another rank did not come within `deadline_s`.
            ValueError: the ranks gave vectors of different lengths.
        """
        self._table[self._rank] = values.copy()
        self._meet()
        rows = list(self._table)
        # Nobody writes the next table before everybody has read this one.
        self._meet()
        return np.stack(rows)

    def _meet(self) -> None:
        try:
            self._barrier.wait(self._deadline_s)
        except threading.BrokenBarrierError as error:
            raise DeadlineExceededError(
                f"rank {self._rank} of {self.size} waited {self._deadline_s} s in all_gather and another rank did not "
                f"come: look for the first error of the other ranks"
            ) from error
