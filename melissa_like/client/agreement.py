"""The ranks of a job end together: what one of them raises, all of them learn.

A rank that raises between two collectives leaves the others waiting in the second, without a deadline, unless the
program runs under `python -m mpi4py`. So whatever only one rank may raise is caught, whatever it is, and goes into the
next collective; then every rank raises, or none.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from melissa_like.client.team import Team
from melissa_like.errors import (
    ConfigurationError,
    ConnectionRefusedByStudyError,
    MelissaLikeError,
    SolverError,
    StudyStoppedError,
)

__all__ = ["Votes", "answer_of_rank_0", "attempt", "ballot", "counted"]

_T = TypeVar("_T")

_KINDS: dict[str, type[MelissaLikeError]] = {
    kind.__name__: kind for kind in (ConfigurationError, ConnectionRefusedByStudyError, SolverError, StudyStoppedError)
}


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

    def error(self) -> MelissaLikeError | None:
        """What a rank raises that has no error of its own; None if nobody has one."""
        if self.broken:
            return SolverError("another rank of this job failed; its own message says why")
        if self.stopped:
            return StudyStoppedError("another rank of this job was told to stop")
        return None


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


class _Trouble(msgspec.Struct, frozen=True, tag=True):
    """What rank 0 says instead of an answer."""

    kind: str
    reason: str


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
            encoded = msgspec.msgpack.encode(_Trouble(kind=type(error).__name__, reason=str(error)))
    told = msgspec.msgpack.decode(team.broadcast(encoded), type=_Answer | _Trouble)
    if problem is not None:
        raise problem
    if isinstance(told, _Trouble):
        if told.kind in _KINDS:
            raise _KINDS[told.kind](told.reason)
        raise SolverError(f"rank 0 of this job failed ({told.kind}: {told.reason})")
    return msgspec.msgpack.decode(told.content, type=kind)  # type: ignore[no-any-return]
