"""The session of one simulation: its time steps, and how it ends."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from melissa_like.client.agreement import Trouble, Votes, attempt, ballot, counted, first_trouble, trouble_of
from melissa_like.client.beginning import Beginning, LocalBeginning, unbegun
from melissa_like.client.control import ControlLine, SignsOfLife
from melissa_like.client.coverage import BEGINNING, label_of, name_gap, name_steps, steps_agree
from melissa_like.client.moments import physical_time, step_number
from melissa_like.client.parts import LocalPart
from melissa_like.client.streaming import PartStream
from melissa_like.client.team import Team
from melissa_like.errors import SolverError
from melissa_like.protocol.control import Assignment, Failure, Followed, Goodbye, Recomputes
from melissa_like.records import Purpose, Ranges

__all__ = ["Session"]

_SETTLE_S = 2.0
#: For what was sent before an error; a server rank that holds it back does not get longer.
_FLUSH_S = 1.0
#: How the sum of all ballots begins if no rank stops, fails or closes.
_ALL_GO_ON = [0, 0, 0]


class Session:
    """One simulation: `send` for each time step, then `close`. Every rank calls both, together.

    Whatever one rank raises in them, every rank raises, so that none waits for it; then the session is over. Rank 0
    tells the launcher, in the words of the first rank that failed.

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
        self._unbegun = unbegun(stream.layout)
        self._has_begun = False
        self._sizes = [spec.size for spec in stream.layout.fields]
        self._nothing = [0] * len(self._sizes)
        self._signs = SignsOfLife(line)
        self._has_failed = False
        self._is_over = False
        self.parameters = parameters
        self.purpose = Purpose(assignment.purpose)
        self.delivered_steps = Ranges(assignment.delivered_steps)

    @property
    def simulation(self) -> int:
        """Number of the simulation within the study."""
        return self._assignment.simulation

    @property
    def attempt(self) -> int:
        """Which execution of the simulation this is, from 1."""
        return self._assignment.attempt

    def listen(self) -> None:
        """Hear what the launcher has said; for a job of one rank that waits long between two steps, again and again.

        Raises:
            StudyStoppedError: the study has ended, or the launcher is gone.
        """
        self._signs.heed()

    def tell_usage(self, *, peak_bytes: int, num_files: int, stopped_s: float) -> None:
        """Tell what a program that is followed took of its disk, for the report; see `protocol.control.Followed`."""
        self._line.post(
            Followed(
                simulation=self._assignment.simulation,
                attempt=self._assignment.attempt,
                peak_bytes=peak_bytes,
                num_files=num_files,
                stopped_s=stopped_s,
            )
        )

    def begin(self, extents: Mapping[str, int] | None = None, static: Mapping[str, Any] | None = None) -> None:
        """Say what does not change in this simulation; once, before the first `send`, by all ranks together.

        For a study whose shapes have names in them, or that declares `solver.static`. On return the arrays may be
        reused; they are sent to each server rank with the first time step that goes there.

        Args:
            extents: the size of each in this simulation, by name: of the whole mesh, so the same on all ranks.
            static: arrays by field name, as in `send`; the ranks together give each element of every static field
                once.

        Raises:
            SolverError: begun before, or after a time step; extents or fields that are not declared, or not given;
                sizes below 1, or that differ between the ranks; values that are not finite, or that name a point that
                there is not; elements that no rank gives; or another rank failed.
        """
        self._require_open()
        beginning = Beginning(extents={} if extents is None else extents, static={} if static is None else static)
        made = LocalBeginning(self._stream.layout, beginning, self._team)
        self._vote(BEGINNING, attempt(self._refuse_late_beginning) or attempt(made.check))
        told = self._team.gather_rows(made.told)
        problem = attempt(lambda: made.settle(told)) or attempt(made.take)
        sent = self._vote(BEGINNING, problem, made.sent)[-2 - len(made.sent) : -2]
        if (gap := made.first_gap(sent)) is not None:
            shapes = [part.shape for part in made.parts if part.shape.field_id == gap]
            fault = name_gap(self._team, made.layout.static[gap], shapes, sent[gap], "static")
            self._end_together(self._after, SolverError(fault))
        self._stream.begin(made)
        self._sizes = [spec.size for spec in made.layout.fields]
        self._unbegun, self._has_begun = None, True

    def send(self, step: int, fields: Mapping[str, Any], time: float | None = None) -> None:
        """Send this rank's part of a time step; on return the arrays may be reused.

        Blocks while the server's buffer is full (back-pressure), asleep, as long as the study lives; the ranks of a job
        wait for each other here, so that none spins in MPI while another is held. A step leaves at once, unless many
        were made within a millisecond each: those travel together, and the last few leave with the next `send`, or with
        `close`.

        Args:
            step: number of the time step, from 0, growing; the same on all ranks.
            fields: arrays by field name: blocks of rows in rank order, `Part`s with their offset, or values `Scattered`
                over points. The ranks together send each element of every field once; a rank may have none of it.
            time: physical time of the step, if the solver knows one.

        Raises:
            SolverError: an undeclared field, a wrong dtype, a value that it cannot hold, a box outside the global
                shape, elements that no rank sends, a step out of order or before `begin`; or another rank failed.
            StudyStoppedError: the study ended while the send was blocked.
        """
        self._require_open()
        number, problem = self._number_of(step)
        problem = problem or self._unbegun or (attempt(self._signs.heed) if self._team.rank == 0 else None)
        if number in self.delivered_steps:
            self._vote(number, problem or attempt(self._pass_over))
        else:
            self._send_new(number, problem, fields, time)
        self._last_step = number
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
        totals = self._vote(None, attempt(lambda: self._finish_stream(num_steps)))
        parts_sent = counted(totals).sums[: len(self._stream.parts_sent)]
        self._vote(None, attempt(lambda: self._say_goodbye(parts_sent)))
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

    def abandon(self) -> None:
        """The program ends: if the session is open, say why, and end the other ranks, which wait for this one.

        What ended it is the exception that Python has printed last, if any.
        """
        if self._is_over:
            return
        error = getattr(sys, "last_value", None) or RuntimeError(
            "the program ended before session.close(): call it on every rank, after the last time step"
        )
        trouble = trouble_of(self._team.rank, error, self._after)
        self._let_go(trouble)
        self._tell(trouble, error)
        self._end(error)
        self._team.abort()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif not self._is_over:  # else it was raised by `send` or `close`
            trouble = trouble_of(self._team.rank, error, self._after)
            self._let_go(trouble)
            self._tell(trouble, error)
            self._end(error)

    def _send_new(self, number: int, problem: BaseException | None, fields: Mapping[str, Any], time: Any) -> None:
        """Send a step that the server ranks do not hold, if nothing is wrong with its number."""
        if not self._stream.started:
            _, rows = self._first_vote(number, problem or attempt(lambda: self._stream.count_rows(fields)))
            problem = attempt(lambda: self._stream.settle(rows))
        parts: list[LocalPart] = []
        if problem is None:
            try:
                parts = self._stream.prepare(fields)
                self._stream.send(number, parts, physical_time(time))
            except BaseException as error:  # not `attempt`: this runs at every step
                problem = error
        totals = self._vote(number, problem, self._stream.elements_of(parts))
        elements = totals[-2 - len(self._sizes) : -2]
        if elements != self._sizes:
            gap = next(index for index, size in enumerate(self._sizes) if elements[index] != size)
            shapes = [part.shape for part in parts if part.shape.field_id == gap]
            fault = name_gap(self._team, self._stream.layout.fields[gap], shapes, elements[gap])
            self._end_together(f"time step {number}", SolverError(fault))

    def _refuse_late_beginning(self) -> None:
        if self._num_steps or self._has_begun:
            when = f"after time step {self._last_step}" if self._num_steps else "a second time"
            raise SolverError(
                f"begin was called {when}: what does not change in a simulation is told once, before its first step"
            )

    def _pass_over(self) -> None:
        """A step that need not be sent; the launcher, which sees nothing of it, is told now and then."""
        self._stream.pass_over()
        if self._team.rank == 0:
            self._signs.mention(Recomputes(simulation=self._assignment.simulation, attempt=self._assignment.attempt))

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

    def _number_of(self, step: Any) -> tuple[int, BaseException | None]:
        try:
            return step_number(step, self._last_step), None
        except BaseException as error:  # whatever a class of the solver's own raises
            return -1, error

    def _first_vote(
        self, number: int | None, problem: BaseException | None, elements: Sequence[int] | None = None
    ) -> tuple[list[int], npt.NDArray[np.int64]]:
        """A vote, and with it the rows of all ranks at their first step."""
        mine = self._ballot(number, problem, elements or self._nothing)
        gathered = self._team.gather_rows([*mine, *self._stream.rows])
        totals = [int(n) for n in gathered[:, : len(mine)].sum(axis=0)]
        self._decide(number, problem, totals)
        return totals, gathered[:, len(mine) :]

    def _vote(
        self, number: int | None, problem: BaseException | None, elements: Sequence[int] | None = None
    ) -> list[int]:
        """Go on together, or end together; a rank that has not sent yet meets the others at their first step.

        Args:
            number: of the step that this rank sends; None if it sends no more.
            problem: what this rank would raise alone.
            elements: that this rank sends, by field; None: nothing.

        Returns:
            The sum of all ballots.
        """
        if not self._stream.started:
            return self._first_vote(number, problem, elements)[0]
        totals = self._team.total(self._ballot(number, problem, elements or self._nothing))
        self._decide(number, problem, totals)
        return totals

    def _ballot(self, number: int | None, problem: BaseException | None, elements: Sequence[int]) -> list[int]:
        counts = [*self._stream.parts_sent, *elements, *label_of(number or 0)]
        return ballot(problem, closing=number is None, counts=counts)

    def _decide(self, number: int | None, problem: BaseException | None, totals: list[int]) -> None:
        agree = steps_agree(totals[-2], totals[-1], self._team.size)
        if agree and totals[:3] == _ALL_GO_ON:  # nearly always
            return
        votes = counted(totals)
        if votes.sound and votes.closing in (0, self._team.size):
            if agree:
                return
            problem = SolverError(name_steps(self._team, number or 0))
        elif problem is None:
            problem = _uneven(votes, number)
        self._end_together(f"time step {number}" if number is not None and number >= 0 else self._after, problem)

    def _end_together(self, where: str, problem: BaseException | None) -> NoReturn:
        """Every rank raises: what it has to raise itself, or what the first rank says that has something to raise."""
        told = first_trouble(self._team, None if problem is None else trouble_of(self._team.rank, problem, where))
        assert told is not None, "the ranks were asked to end, and none says why"
        error = problem if problem is not None else told.error()
        self._let_go(told)
        if self._team.rank == 0:
            self._tell(told, error)
        # Under `python -m mpi4py` the first rank that raises ends the job: not before the reason has been said.
        self._team.total([0])
        self._has_failed = True
        self._end(error)
        raise error

    def _let_go(self, trouble: Trouble) -> None:
        """What was sent before the error leaves before it is told: what is complete of it is trained on."""
        if not trouble.is_stop:
            attempt(lambda: self._stream.flush(_FLUSH_S))  # what cannot leave is lost, with the attempt

    def _tell(self, trouble: Trouble, error: BaseException) -> None:
        """Tell the launcher at once what a solver with its own main would only write into its log."""
        if trouble.is_stop:
            return
        message = f"rank {trouble.rank}, {trouble.reason}"
        untold = attempt(lambda: self.fail(message, breaks_contract=trouble.breaks_contract))
        if untold is not None:
            error.add_note(f"the launcher could not be told ({type(untold).__name__}: {untold})")

    @property
    def _after(self) -> str:
        """Where this rank is between two steps."""
        return f"after time step {self._last_step}" if self._num_steps else "before its first time step"

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


def _uneven(votes: Votes, number: int | None) -> SolverError | None:
    """What a rank did wrong that sends while another has ended."""
    if number is None or not votes.closing or not votes.sound:
        return None
    does = "begins the simulation" if number == BEGINNING else f"sends time step {number}"
    return SolverError(
        f"this rank {does} while another rank has sent its last one: every rank of the solver sends "
        "the same number of steps, with an empty part where it has nothing"
    )
