"""What one rank raises, every rank raises: seen by ranks that are threads of one process."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from melissa_like.client.agreement import Votes, answer_of_rank_0, attempt, ballot, counted
from melissa_like.client.team import Team
from melissa_like.errors import (
    ConfigurationError,
    ConnectionRefusedByStudyError,
    SolverError,
    StudyStoppedError,
)
from melissa_like.protocol.control import Finish

DEADLINE_S = 10.0


class Threads:
    """The collectives of three ranks that are threads."""

    size = 3

    def __init__(self, rank: int, barrier: threading.Barrier, shared: dict[int, Any]) -> None:
        self.rank = rank
        self._barrier = barrier
        self._shared = shared

    def _all(self, mine: Any) -> list[Any]:
        self._shared[self.rank] = mine
        self._barrier.wait(DEADLINE_S)
        everything = [self._shared[rank] for rank in range(self.size)]
        self._barrier.wait(DEADLINE_S)
        return everything

    def broadcast(self, message: bytes) -> bytes:
        return self._all(message)[0]  # type: ignore[no-any-return]

    def total(self, values: Sequence[int]) -> list[int]:
        return [int(n) for n in np.sum(self._all(list(values)), axis=0)]

    def gather_rows(self, values: Sequence[int]) -> np.ndarray:
        return np.array(self._all(list(values)))


def on_three_ranks(body: Callable[[Team], Any]) -> list[Any]:
    """What each rank returns, or raises."""
    barrier, shared = threading.Barrier(Threads.size), dict[int, Any]()

    def one(rank: int) -> Any:
        try:
            return body(Threads(rank, barrier, shared))
        except Exception as error:
            return error

    with ThreadPoolExecutor(Threads.size) as pool:
        return list(pool.map(one, range(Threads.size)))


def test_an_answer_of_rank_0_reaches_every_rank() -> None:
    answers = on_three_ranks(lambda team: answer_of_rank_0(team, lambda: Finish(reason=f"{team.rank}"), Finish))
    assert answers == [Finish(reason="0")] * 3


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (ConnectionRefusedByStudyError("not of this study"), ConnectionRefusedByStudyError, "not of this study"),
        (StudyStoppedError("interrupted"), StudyStoppedError, "interrupted"),
        (ConfigurationError("no such file"), ConfigurationError, "no such file"),
        (OSError(28, "No space left"), SolverError, r"rank 0 of this job failed \(OSError: .*No space left"),
    ],
)
def test_what_rank_0_raises_every_rank_raises(problem: Exception, kind: type[Exception], words: str) -> None:
    def ask() -> Finish:
        raise problem

    first, *others = on_three_ranks(lambda team: answer_of_rank_0(team, ask, Finish))
    assert first is problem
    for other in others:
        assert type(other) is kind
        with pytest.raises(kind, match=words):
            raise other


@pytest.mark.parametrize(
    ("problems", "votes"),
    [
        ([None, None, None], Votes(0, 0, 0)),
        ([None, ValueError("ragged"), None], Votes(0, 1, 0)),
        ([KeyboardInterrupt(), None, StudyStoppedError("over")], Votes(1, 1, 0)),
    ],
)
def test_every_rank_counts_the_same(problems: list[BaseException | None], votes: Votes) -> None:
    assert on_three_ranks(lambda team: counted(team.total(ballot(problems[team.rank])))) == [votes] * 3


def test_what_is_counted_besides_is_added_up() -> None:
    votes = on_three_ranks(
        lambda team: counted(team.total(ballot(None, closing=team.rank > 0, counts=[team.rank, 10])))
    )
    assert votes == [Votes(0, 0, 2, (3, 30))] * 3


def test_who_has_no_error_of_its_own_raises_one_that_points_to_the_others() -> None:
    assert Votes(0, 0, 3).error() is None
    assert isinstance(Votes(2, 0, 0).error(), StudyStoppedError)
    assert isinstance(Votes(1, 1, 0).error(), SolverError)


def test_an_attempt_returns_whatever_is_raised() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert isinstance(attempt(leave), SystemExit)
    assert attempt(lambda: None) is None
