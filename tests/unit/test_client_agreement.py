"""What one rank raises, every rank raises: seen by ranks that are threads of one process."""

from collections.abc import Callable
from typing import Any

import pytest

from melissa_like.client.agreement import (
    Trouble,
    Votes,
    answer_of_rank_0,
    attempt,
    ballot,
    counted,
    first_trouble,
    trouble_of,
)
from melissa_like.client.team import Team
from melissa_like.errors import (
    ConfigurationError,
    ConnectionRefusedByStudyError,
    SolverError,
    StudyStoppedError,
)
from melissa_like.protocol.control import Finish
from tests.unit.ranks import on_ranks


def on_three_ranks(body: Callable[[Team], Any]) -> list[Any]:
    return on_ranks(3, body)


def test_an_answer_of_rank_0_reaches_every_rank() -> None:
    answers = on_three_ranks(lambda team: answer_of_rank_0(team, lambda: Finish(reason=f"{team.rank}"), Finish))
    assert answers == [Finish(reason="0")] * 3


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (ConnectionRefusedByStudyError("not of this study"), ConnectionRefusedByStudyError, "not of this study"),
        (StudyStoppedError("interrupted"), StudyStoppedError, "interrupted"),
        (ConfigurationError("no such file"), ConfigurationError, "no such file"),
        (OSError(28, "No space left"), SolverError, r"rank 0 of this job failed \(OSError\): (?s:.*)No space left"),
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


class NamelessError(Exception):
    """An exception that cannot be printed, as those of a broken extension."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("problems", "first", "kind", "words"),
    [
        ([None, ValueError("ragged"), SolverError("late")], 1, SolverError, "rank 1 of this job failed (ValueError)"),
        ([None, None, SolverError("field 'u' is empty")], 2, SolverError, "step 3: field 'u' is empty"),
        ([StudyStoppedError("over"), None, OSError(28, "No space")], 2, SolverError, "No space"),
        ([None, StudyStoppedError("over"), None], 1, StudyStoppedError, "over"),
        ([None, KeyboardInterrupt(), SystemExit(3)], 1, SolverError, "KeyboardInterrupt"),
        ([None, SystemExit(3), None], 1, SolverError, "SystemExit: 3"),
        ([None, NamelessError(), None], 1, SolverError, "NamelessError"),
        ([None, None, OSError("no file \udcff")], 2, SolverError, "no file \\udcff"),
        ([None, RuntimeError("x" * 10**6 + " at last"), None], 1, SolverError, " at last"),
    ],
)
def test_the_words_of_the_first_rank_that_failed_reach_every_rank(
    problems: list[BaseException | None], first: int, kind: type[Exception], words: str
) -> None:
    def meet(team: Team) -> Trouble | None:
        mine = problems[team.rank]
        return first_trouble(team, None if mine is None else trouble_of(team.rank, mine, "step 3"))

    told = on_three_ranks(meet)
    assert told[0].rank == first
    assert told[0] == told[1] == told[2]
    assert len(told[0].reason) < 25_000
    error = told[0].error()
    assert type(error) is kind
    assert words in str(error)


def test_nobody_is_in_trouble() -> None:
    assert on_three_ranks(lambda team: first_trouble(team, None)) == [None] * 3
    assert Votes(0, 0, 3).sound
    assert not Votes(1, 0, 0).sound
    assert not Votes(0, 1, 0).sound


def test_an_attempt_returns_whatever_is_raised() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert isinstance(attempt(leave), SystemExit)
    assert attempt(lambda: None) is None
