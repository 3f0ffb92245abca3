"""The ranks of a job as threads of one process."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from melissa_like.client.team import Team

DEADLINE_S = 10.0


class KilledError(BaseException):
    """This rank would be dead: another one has aborted the job while it was waiting."""


class Meeting:
    """Where ranks exchange values, all of them or none."""

    def __init__(self, num_ranks: int) -> None:
        self.num_ranks = num_ranks
        self._changed = threading.Condition()
        self._values: dict[int, Any] = {}
        self._last: list[Any] = []
        self._number = 0
        self._aborted = False

    def exchange(self, rank: int, value: Any) -> list[Any]:
        with self._changed:
            number = self._number
            self._values[rank] = value
            if len(self._values) == self.num_ranks:
                self._last = [self._values[other] for other in range(self.num_ranks)]
                self._values = {}
                self._number += 1
                self._changed.notify_all()
            else:
                self._changed.wait_for(lambda: self._number > number or self._aborted, DEADLINE_S)
                if self._number == number:
                    raise KilledError
            return self._last

    def abort(self) -> None:
        with self._changed:
            self._aborted = True
            self._changed.notify_all()


class Threads:
    """The collectives of some ranks that are threads; as in MPI, a rank that aborts takes the waiting ones with it."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank = rank
        self.size = meeting.num_ranks
        self.abort = meeting.abort
        self._meeting = meeting

    def broadcast(self, message: bytes) -> bytes:
        return self._meeting.exchange(self.rank, message)[0]  # type: ignore[no-any-return]

    def total(self, values: Sequence[int]) -> list[int]:
        return [int(n) for n in np.sum(self._meeting.exchange(self.rank, list(values)), axis=0)]

    def gather_rows(self, values: Sequence[int]) -> np.ndarray:
        return np.array(self._meeting.exchange(self.rank, list(values)), dtype=np.int64)


def on_ranks(num_ranks: int, body: Callable[[Any], Any]) -> list[Any]:
    """What each rank returns, or raises; `body` is called with its team."""
    meeting = Meeting(num_ranks)

    def one(rank: int) -> Any:
        team: Team = Threads(rank, meeting)
        try:
            return body(team)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(num_ranks) as pool:
        return list(pool.map(one, range(num_ranks)))
