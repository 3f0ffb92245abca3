"""The ranks of a job end together: what one of them raises, all of them learn.

A rank that raises between two collectives leaves the others waiting in the second, without a deadline, unless the
program runs under `python -m mpi4py`. So whatever only one rank may raise is caught, whatever it is, and goes into the
next collective; then every rank raises, or none. The words of the first rank go to all of them: whichever speaks for
the job, or writes the log that is read, tells the reason.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from melissa_like.client.team import Team
from melissa_like.errors import (
    ConfigurationError,
    ConnectionRefusedByStudyError,
    MelissaLikeError,
    SolverError,
    StudyStoppedError,
    printable,
    story_of,
)

__all__ = ["Trouble", "Votes", "answer_of_rank_0", "attempt", "ballot", "counted", "first_trouble", "trouble_of"]

_T = TypeVar("_T")

_KINDS: dict[str, type[MelissaLikeError]] = {
    kind.__name__: kind for kind in (ConfigurationError, ConnectionRefusedByStudyError, SolverError, StudyStoppedError)
}


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """What a rank raises, told to the others.

    Attributes:
        kind: name of the class.
        reason: what is said of it.
    """

    rank: int
    kind: str
    reason: str

    @property
    def is_stop(self) -> bool:
        """Whether the rank did nothing wrong: it was told to stop."""
        return self.kind == StudyStoppedError.__name__

    @property
    def breaks_contract(self) -> bool:
        """Whether another attempt would do the same."""
        return self.kind == SolverError.__name__

    def error(self) -> MelissaLikeError:
        """What the other ranks raise because of it, of the same kind if that is one of ours."""
        if self.kind in _KINDS:
            return _KINDS[self.kind](self.reason)
        return SolverError(f"rank {self.rank} of this job failed ({self.kind}): {self.reason}")


class Votes(NamedTuple):
    """What has become of the ranks of a job.

    Attributes:
        stopped: ranks that were told to stop.
        broken: ranks that failed otherwise.
        closing: ranks that send no more.
        sums: of what the ranks had to count besides.
    """

    stopped: int
    broken: int
    closing: int
    sums: tuple[int, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether no rank has an error."""
        return not (self.stopped or self.broken)


def trouble_of(rank: int, error: BaseException, where: str = "") -> Trouble:
    """What a rank says of its error.

    Args:
        rank: this one.
        error: any.
        where: at what the rank was, in front of the reason.
    """
    kinds = (name for name, kind in _KINDS.items() if isinstance(error, kind))
    kind, reason = next(kinds, type(error).__name__), story_of(error)
    return Trouble(rank, printable(kind), f"{where}: {reason}" if where else reason)


def ballot(problem: BaseException | None, *, closing: bool = False, counts: Sequence[int] = ()) -> list[int]:
    """What one rank has to say: numbers to be added up over the ranks."""
    stopped = isinstance(problem, StudyStoppedError)
    return [stopped, problem is not None and not stopped, closing, *counts]


def counted(totals: Sequence[int]) -> Votes:
    """The sum of all ballots."""
    stopped, broken, closing, *sums = totals
    return Votes(stopped, broken, closing, tuple(sums))


def attempt(part: Callable[[], object]) -> BaseException | None:
    """What this rank's own part of a common step raises, for the next `ballot`."""
    try:
        part()
    except BaseException as error:  # a solver's own classes, a keyboard interrupt: the others wait all the same
        return error
    return None


def first_trouble(team: Team, mine: Trouble | None) -> Trouble | None:
    """The trouble of the first rank that has any, on every rank; that of one that failed before that of one that stops.

    Every rank calls it.

    Args:
        team: the ranks.
        mine: of this rank, if it has any.
    """
    weight = 0 if mine is None else 1 if mine.is_stop else 2
    weights = team.gather_rows([weight])[:, 0]
    first = int(np.argmax(weights))
    if not weights[first]:
        return None
    encoded = msgspec.msgpack.encode(mine) if team.rank == first else b""
    (nbytes,) = team.total([len(encoded)])
    told = bytes(team.total(list(encoded) or [0] * nbytes))  # the sum of one rank's bytes and of zeros
    return msgspec.msgpack.decode(told, type=Trouble)


class _Answer(msgspec.Struct, frozen=True, tag=True):
    """What rank 0 was told."""

    content: msgspec.Raw


def answer_of_rank_0(team: Team, ask: Callable[[], _T], kind: Any) -> _T:
    """What `ask` returns on rank 0, on every rank; only rank 0 calls it.

    Args:
        team: the ranks, all of which call this.
        ask: asks the launcher, on rank 0.
        kind: type of the answer, which travels as msgpack.

    Raises:
        Exception: on rank 0 whatever `ask` raises; on the others one of the same kind, with the same words.
    """
    encoded, problem = b"", None
    if team.rank == 0:
        try:
            encoded = msgspec.msgpack.encode(_Answer(msgspec.Raw(msgspec.msgpack.encode(ask()))))
        except BaseException as error:
            problem = error
            encoded = msgspec.msgpack.encode(trouble_of(0, error))
    told = msgspec.msgpack.decode(team.broadcast(encoded), type=_Answer | Trouble)
    if problem is not None:
        raise problem
    if isinstance(told, Trouble):
        raise told.error()
    return msgspec.msgpack.decode(told.content, type=kind)  # type: ignore[no-any-return]
