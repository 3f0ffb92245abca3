"""The client of a solver job: hello, simulations one after another, goodbye."""

import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from melissa_like.client.control import ControlLine
from melissa_like.client.streaming import PartStream, layout_from
from melissa_like.client.team import Team, team_of
from melissa_like.errors import ConfigurationError, MelissaLikeError, SolverError, StudyStoppedError
from melissa_like.protocol import Connection, read_connection
from melissa_like.protocol.control import Assignment, Blocked, Failure, Finish, Goodbye, Hello, Request, Welcome
from melissa_like.records import Purpose
from melissa_like.transport import PartSender, Transport
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["JOB_VARIABLE", "RUN_DIR_VARIABLE", "Client", "Session", "connect"]

RUN_DIR_VARIABLE = "MELISSA_LIKE_RUN_DIR"
JOB_VARIABLE = "MELISSA_LIKE_JOB"

_claimed: set[tuple[bytes, str]] = set()

_FINE, _STOPPED, _BROKEN, _CLOSING = 0, 1, 2, 3


class Client:
    """One solver job's connection to its study; every rank makes one, together.

    Use it as a context manager. Simulations come one after another from `next_session`.

    Args:
        comm: the solver's communicator (mpi4py), or None without MPI. It is duplicated.
        transport: how messages travel; by default ZeroMQ.
        connection: where the launcher is; by default from the run directory that the environment names.
        job: this job's name; by default from the environment.

    Raises:
        ConfigurationError: not started by a launcher, and nothing said otherwise.
        ConnectionRefusedByStudyError: the launcher refused this job; the message is its reason.
        StudyStoppedError: the study has ended, or the launcher is gone.
    """

    def __init__(
        self,
        comm: Any = None,
        *,
        transport: Transport | None = None,
        connection: Connection | None = None,
        job: str | None = None,
    ) -> None:
        self.team: Team = team_of(comm)
        self._connection = connection if connection is not None else _connection_from_environment()
        self._job = job if job is not None else _from_environment(JOB_VARIABLE)
        self._owned_transport = ZmqTransport() if transport is None else None
        self._transport: Transport = transport if transport is not None else _assert_not_none(self._owned_transport)
        self._line: ControlLine | None = None
        self._sender: PartSender | None = None
        self._welcome: Welcome | None = None

    def __enter__(self) -> "Client":
        encoded = b""
        if self.team.rank == 0:
            self._open_line().post(self._hello())
            encoded = self._ask_rank_0(Welcome)
        self._welcome = msgspec.msgpack.decode(self.team.broadcast(encoded), type=Welcome)
        self._sender = self._transport.part_sender(
            self._welcome.server_endpoints, budget_bytes=self._welcome.budget_bytes
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._sender is not None:
                if error is None:
                    self._flush()
                self._sender.close(5.0 if error is None else 0.0)
        finally:
            if self._line is not None:
                self._line.settle(2.0)
                self._line.__exit__(kind, error, trace)
            if self._owned_transport is not None:
                self._owned_transport.close()

    def claim(self) -> None:
        """Be this job's only client in this process.

        Raises:
            SolverError: there was one before.
        """
        name = (self._connection.study, self._job)
        if name in _claimed:
            raise SolverError(
                f"connect was called a second time in {self._job}: a solver with its own main runs one simulation and "
                "ends; to run many in one job, write it as a generator (solver.solve)"
            )
        _claimed.add(name)

    def next_session(self) -> "Session | None":
        """The next simulation, or None when none is left for this job. Blocks until the launcher decides.

        Raises:
            StudyStoppedError: the study has ended, or the launcher is gone.
        """
        assert self._welcome is not None, "use the client as a context manager"
        assert self._sender is not None
        encoded = b""
        if self.team.rank == 0:
            self._open_line().post(Request(job=self._job))
            encoded = self._ask_rank_0(Assignment, Finish)
        told = msgspec.msgpack.decode(self.team.broadcast(encoded), type=Assignment | Finish)
        if isinstance(told, Finish):
            return None
        layout = layout_from(self._welcome)
        stream = PartStream(
            welcome=self._welcome,
            layout=layout,
            assignment=told,
            identity=self._connection.identity(self._welcome.server_incarnation),
            sender=self._sender,
            team=self.team,
            ask=self._ask_whether_alive,
        )
        return Session(self, stream, told, dict(zip(layout.parameters, told.parameters, strict=True)))

    def say_goodbye(self, assignment: Assignment, num_steps: int, parts_sent: list[int]) -> None:
        """Tell the launcher how many parts of a simulation went to each server rank; rank 0 speaks."""
        totals = self.team.total(parts_sent)
        if self.team.rank == 0:
            self._open_line().post(
                Goodbye(
                    job=self._job,
                    simulation=assignment.simulation,
                    attempt=assignment.attempt,
                    num_steps=num_steps,
                    parts_sent=tuple(totals),
                )
            )

    def say_failure(self, assignment: Assignment, message: str, *, breaks_contract: bool) -> None:
        """Tell the launcher that the solver raised on this rank; any rank may speak. Waits a moment for the answer."""
        line = self._open_line()
        line.post(
            Failure(
                job=self._job,
                rank=self.team.rank,
                simulation=assignment.simulation,
                attempt=assignment.attempt,
                message=message,
                breaks_contract=breaks_contract,
            )
        )
        line.settle(2.0)

    def _hello(self) -> Hello:
        return Hello(
            job=self._job,
            rank=self.team.rank,
            num_ranks=self.team.size,
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def _open_line(self) -> ControlLine:
        if self._line is None:
            self._line = ControlLine(
                self._transport,
                self._connection.endpoint,
                self._connection.identity(),
                f"{self._job}/{self.team.rank}",
            )
        return self._line

    def _ask_rank_0(self, kind: type[Any], *others: type[Any]) -> bytes:
        return msgspec.msgpack.encode(self._open_line().expect(kind, *others))

    def _ask_whether_alive(self, server_rank: int) -> None:
        """A send has been blocked for a heartbeat: legitimate as long as the launcher says that the study lives."""
        assert self._welcome is not None
        line = self._open_line()
        line.post(Blocked(job=self._job, rank=self.team.rank, server_rank=server_rank))
        answer = line.expect(Welcome)
        assert isinstance(answer, Welcome)
        if answer.server_incarnation != self._welcome.server_incarnation:
            raise StudyStoppedError("the server ranks were restarted: this attempt ends, a new one fills the holes")

    def _flush(self) -> None:
        assert self._sender is not None
        assert self._welcome is not None
        while not self._sender.flush(self._welcome.heartbeat_s):
            self._ask_whether_alive(-1)


class Session:
    """One simulation: `send` for each time step, then `close`. Every rank calls both, together.

    Attributes:
        parameters: values by name.
        purpose: whether the simulation is trained on or held out.
        delivered_steps: steps that the server ranks hold already; sending them again is skipped.
    """

    def __init__(
        self, client: Client, stream: PartStream, assignment: Assignment, parameters: dict[str, float]
    ) -> None:
        self._client = client
        self._stream = stream
        self._assignment = assignment
        self._last_step = -1
        self._num_steps = 0
        self._owns_client = False
        self._failed = False
        self.parameters = parameters
        self.purpose = Purpose(assignment.purpose)
        self.delivered_steps = frozenset(assignment.delivered_steps)

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
            SolverError: an undeclared field, a wrong dtype, a box outside the global shape, a step out of order.
            StudyStoppedError: the study ended while the send was blocked.
        """
        problem: MelissaLikeError | None = None
        try:
            parts = self._stream.prepare(fields)
            self._check_step(step)
            if step in self.delivered_steps:
                self._stream.pass_over()
            else:
                self._stream.send(step, parts, time)
        except MelissaLikeError as error:
            problem = error
        status = _FINE if problem is None else _STOPPED if isinstance(problem, StudyStoppedError) else _BROKEN
        worst = self._client.team.maximum(status)
        if problem is not None:
            self._report(problem)
            raise problem
        if worst == _STOPPED:
            raise StudyStoppedError("another rank of this job was told to stop")
        if worst == _BROKEN:
            raise SolverError("another rank of this job failed; its own message says why")
        if worst == _CLOSING:
            problem = SolverError(
                f"this rank sends time step {step} while another rank has sent its last one: every rank of the solver "
                "sends the same number of steps, with an empty part where it has nothing"
            )
            self._report(problem)
            raise problem
        self._last_step = step
        self._num_steps += 1

    def close(self, num_steps: int | None = None) -> None:
        """Say goodbye: so many steps were sent.

        Args:
            num_steps: how many the solver believes it has sent, compared with the number of `send`s.

        Raises:
            SolverError: fewer or more were sent than said.
        """
        if num_steps is not None and num_steps != self._num_steps:
            problem = SolverError(
                f"goodbye after {num_steps} time steps but send was called {self._num_steps} times: call send once per "
                "time step on every rank"
            )
            self._report(problem)
            raise problem
        # Told in the collective that `send` calls: a rank that still sends must not meet another one of goodbye's.
        self._client.team.maximum(_CLOSING)
        self._stream.close()
        self._client.say_goodbye(self._assignment, self._num_steps, self._stream.parts_sent)
        if self._owns_client:
            self._client.__exit__(None, None, None)

    def fail(self, message: str, *, breaks_contract: bool = False) -> None:
        """Report that the solver cannot go on; the launcher starts another attempt, or gives the simulation up.

        The first report of a session counts.
        """
        if not self._failed:
            self._failed = True
            self._client.say_failure(self._assignment, message, breaks_contract=breaks_contract)

    def _report(self, problem: MelissaLikeError) -> None:
        """Tell the launcher at once what a solver with its own main would only write into its log."""
        if isinstance(problem, SolverError):
            self.fail(str(problem), breaks_contract=True)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self.fail(f"{type(error).__name__}: {error}", breaks_contract=isinstance(error, SolverError))
        if self._owns_client:
            self._client.__exit__(kind, error, trace)

    def _check_step(self, step: int) -> None:
        if isinstance(step, bool) or not hasattr(step, "__index__") or int(step) <= self._last_step:
            raise SolverError(
                f"time step {step!r} after time step {self._last_step}: number the steps with growing integers from 0"
            )


def connect(
    comm: Any = None,
    *,
    transport: Transport | None = None,
    connection: Connection | None = None,
    job: str | None = None,
) -> Session:
    """Connect a solver with its own main: one simulation, then the end of the program.

    Every rank calls it, once. The session's `close` ends the connection as well. Arguments and errors as for `Client`.

    Raises:
        SolverError: it was called before; the launcher would take the second hello for a repetition of the first.
        StudyStoppedError: no simulation is left.
    """
    client = Client(comm, transport=transport, connection=connection, job=job)
    client.claim()
    client.__enter__()
    try:
        session = client.next_session()
        if session is None:
            raise StudyStoppedError("no simulation is left for this job")
    except BaseException as error:
        client.__exit__(type(error), error, error.__traceback__)
        raise
    session._owns_client = True
    return session


def _from_environment(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise ConfigurationError(
            f"{variable} is not set: start the solver by `melissa-like run`, or try it alone with `melissa-like check`"
        ) from None


def _connection_from_environment() -> Connection:
    return read_connection(Path(_from_environment(RUN_DIR_VARIABLE)))


def _assert_not_none(transport: Transport | None) -> Transport:
    assert transport is not None
    return transport
