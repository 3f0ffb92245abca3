"""The session of one simulation: its time steps, and how it ends."""

import math
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.client.agreement import Votes, attempt, ballot, counted
from melissa_like.client.control import ControlLine
from melissa_like.client.parts import LocalPart
from melissa_like.client.streaming import PartStream
from melissa_like.client.team import Team
from melissa_like.errors import MelissaLikeError, SolverError, StudyStoppedError
from melissa_like.protocol.control import Assignment, Failure, Goodbye
from melissa_like.records import Purpose, Ranges

__all__ = ["Session"]

_SETTLE_S = 2.0
_TRACE_ENTRIES = 12


class Session:
    """One simulation: `send` for each time step, then `close`. Every rank calls both, together.

    Whatever one rank raises in them, every rank raises, so that none waits for it; then the session is over.

    Args:
        line: on which this rank speaks to the launcher.
        job: what ends with this session, if anything does.

    Attributes:
        parameters: values by name.
        purpose: whether the simulation is trained on or held out.
        delivered_steps: steps that the server ranks hold already; sending them again is skipped.
    """

    def __init__(
        self,
        *,
        stream: PartStream,
        assignment: Assignment,
        parameters: dict[str, float],
        team: Team,
        line: ControlLine,
        job: AbstractContextManager[object] | None,
    ) -> None:
        self._stream = stream
        self._assignment = assignment
        self._team = team
        self._line = line
        self._job = job
        self._last_step = -1
        self._num_steps = 0
        self._has_failed = False
        self._is_over = False
        self.parameters = parameters
        self.purpose = Purpose(assignment.purpose)
        self.delivered_steps = Ranges(assignment.delivered_steps)

    @property
    def simulation(self) -> int:
        """Number of the simulation within the study."""
        return self._assignment.simulation

    def send(self, step: int, fields: Mapping[str, Any], time: float = math.nan) -> None:
        """Send this rank's part of a time step; on return the arrays may be reused.

        Blocks while the server's buffer is full (back-pressure), asleep, as long as the study lives; the ranks of a job
        wait for each other here, so that none spins in MPI while another is held. A step leaves at once, unless many
        were made within a millisecond each: those travel together, and the last few leave with the next `send`, or with
        `close`.

        Args:
            step: number of the time step, from 0, growing.
            fields: arrays by field name: blocks of rows in rank order, or `Part`s with their offset.
            time: physical time of the step, if the solver knows one.

        Raises:
            SolverError: an undeclared field, a wrong dtype, a box outside the global shape, a step out of order; or
                another rank failed.
            StudyStoppedError: the study ended while the send was blocked.
        """
        self._require_open()
        rows = None if self._stream.started else self._gather_rows(step, fields)
        problem: BaseException | None = None
        try:
            if rows is not None:
                self._stream.settle(rows)
            parts = self._stream.prepare(fields)
            self._check_step(step)
            self._send_parts(int(step), parts, time)
        except BaseException as error:  # not `attempt`: this runs at every step
            problem = error
        self._vote(step, problem)
        self._last_step = int(step)
        self._num_steps += 1

    def close(self, num_steps: int | None = None) -> None:
        """Say goodbye: so many steps were sent. Nothing happens if the session is over already.

        Args:
            num_steps: how many the solver believes it has sent, compared with the number of `send`s.

        Raises:
            SolverError: fewer or more were sent than said; or another rank failed, or still sends.
        """
        if self._is_over:
            return
        # Told in the collective that `send` calls: a rank that still sends must not meet another one of goodbye's.
        votes = self._vote(None, attempt(lambda: self._finish_stream(num_steps)))
        self._vote(None, attempt(lambda: self._say_goodbye(votes.sums)))
        self._end(None)

    def fail(self, message: str, *, breaks_contract: bool = False) -> None:
        """Report that the solver cannot go on; the launcher starts another attempt, or gives the simulation up.

        The first report of a session counts. Waits a moment for the answer.
        """
        if self._has_failed:
            return
        self._has_failed = True
        self._line.post(
            Failure(
                simulation=self._assignment.simulation,
                attempt=self._assignment.attempt,
                message=message,
                breaks_contract=breaks_contract,
            )
        )
        self._line.settle(_SETTLE_S)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._report(error)
            self._end(error)

    def _send_parts(self, step: int, parts: list[LocalPart], time: float) -> None:
        if step in self.delivered_steps:
            self._stream.pass_over()
        else:
            self._stream.send(step, parts, time)

    def _finish_stream(self, num_steps: int | None) -> None:
        if num_steps is not None and num_steps != self._num_steps:
            raise SolverError(
                f"goodbye after {num_steps} time steps but send was called {self._num_steps} times: call send once per "
                "time step on every rank"
            )
        self._stream.close()

    def _say_goodbye(self, parts_sent: tuple[int, ...]) -> None:
        if self._team.rank == 0:
            self._line.post(
                Goodbye(
                    simulation=self._assignment.simulation,
                    attempt=self._assignment.attempt,
                    num_steps=self._num_steps,
                    parts_sent=parts_sent,
                )
            )

    def _gather_rows(self, step: int, fields: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """The rows of all ranks at their first step; the first vote travels with them."""
        problem = attempt(lambda: self._stream.count_rows(fields))
        return self._first_vote(step, problem)[1]

    def _first_vote(self, step: int | None, problem: BaseException | None) -> tuple[Votes, npt.NDArray[np.int64]]:
        mine = self._ballot(step, problem)
        gathered = self._team.gather_rows([*mine, *self._stream.rows])
        votes = counted([int(n) for n in gathered[:, : len(mine)].sum(axis=0)])
        self._decide(step, problem, votes)
        return votes, gathered[:, len(mine) :]

    def _vote(self, step: int | None, problem: BaseException | None) -> Votes:
        """Go on together, or end together; a rank that has not sent yet meets the others at their first step.

        Args:
            step: that this rank sends; None if it sends no more.
            problem: what this rank would raise alone.
        """
        if not self._stream.started:
            return self._first_vote(step, problem)[0]
        votes = counted(self._team.total(self._ballot(step, problem)))
        self._decide(step, problem, votes)
        return votes

    def _ballot(self, step: int | None, problem: BaseException | None) -> list[int]:
        return ballot(problem, closing=step is None, counts=self._stream.parts_sent)

    def _decide(self, step: int | None, problem: BaseException | None, votes: Votes) -> None:
        if problem is None:
            problem = _uneven(votes, step)
        error = votes.error() if problem is None else problem
        if error is None and votes.closing in (0, self._team.size):
            return
        try:
            if problem is not None:
                self._report(problem)
        finally:
            # Under `python -m mpi4py` the first rank that raises ends the job: not before the reason has been said.
            self._team.total([0])
        if error is None:
            error = SolverError("another rank of this job still sends time steps; its own message says why")
        self._has_failed = True  # the rank with the reason has reported it
        self._end(error)
        raise error

    def _report(self, problem: BaseException) -> None:
        """Tell the launcher at once what a solver with its own main would only write into its log."""
        if not isinstance(problem, StudyStoppedError):
            with suppress(Exception):  # the job ends with this problem all the same, and its log says so
                self.fail(_story(problem), breaks_contract=isinstance(problem, SolverError))

    def _end(self, error: BaseException | None) -> None:
        """The session is over, and with it perhaps the job; once."""
        if self._is_over:
            return
        self._is_over = True
        if self._job is not None:
            self._job.__exit__(None if error is None else type(error), error, None)

    def _require_open(self) -> None:
        if self._is_over:
            raise SolverError(
                f"the session of simulation {self.simulation} is over: send every time step before close, and nothing "
                "after an error"
            )

    def _check_step(self, step: int) -> None:
        if isinstance(step, bool) or not hasattr(step, "__index__") or int(step) <= self._last_step:
            raise SolverError(
                f"time step {step!r} after time step {self._last_step}: number the steps with growing integers from 0"
            )


def _uneven(votes: Votes, step: int | None) -> SolverError | None:
    """What a rank did wrong that sends while another has ended."""
    if step is None or not votes.closing or votes.error() is not None:
        return None
    return SolverError(
        f"this rank sends time step {step} while another rank has sent its last one: every rank of the solver sends "
        "the same number of steps, with an empty part where it has nothing"
    )


def _story(error: BaseException) -> str:
    if isinstance(error, MelissaLikeError):
        return str(error)
    return "".join(traceback.format_exception(error)[-_TRACE_ENTRIES:]).strip()
