"""One solver job as its study sees it: hello, simulations one after another, the end."""

import os
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import msgspec

from melissa_like.client.agreement import answer_of_rank_0, attempt, first_trouble, trouble_of
from melissa_like.client.control import ControlLine
from melissa_like.client.environment import connection_from_environment, job_from_environment
from melissa_like.client.session import Session
from melissa_like.client.streaming import PartStream, layout_from
from melissa_like.client.team import Team, team_of
from melissa_like.errors import ConnectionRefusedByStudyError, SolverError, StudyStoppedError
from melissa_like.protocol import Connection
from melissa_like.protocol.control import Assignment, Blocked, Finish, Hello, Request, Welcome
from melissa_like.records import ClientRank
from melissa_like.transport import PartSender, Transport
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["Client"]

_SETTLE_S = 2.0
_LINGER_S = 5.0

#: Study and job of every client that this process has had, and whether it was for a single simulation.
_claimed: dict[tuple[bytes, str], bool] = {}


class _Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """What rank 0 tells the other ranks: where the launcher is, who this job is, and how it was welcomed."""

    connection: Connection
    job: str
    welcome: Welcome


class Client:
    """One solver job's connection to its study; every rank makes one, together.

    Use it as a context manager. Simulations come one after another from `next_session`. Rank 0 speaks for the job; what
    one rank raises here, every rank raises.

    Args:
        comm: the solver's communicator (mpi4py), or None without MPI. It is duplicated.
        transport: how messages travel; by default ZeroMQ.
        connection: where the launcher is; by default from the run directory that rank 0's environment names.
        job: this job's name; by default from rank 0's environment.
        single: the job runs one simulation, whose session ends the job as well.

    Raises:
        ConfigurationError: not started by a launcher, and nothing said otherwise.
        ConnectionRefusedByStudyError: the launcher refused this job; the message is its reason.
        SolverError: a second client of a job, whose hello the launcher would take for a repetition of the first; or
            another rank failed.
        StudyStoppedError: the study has ended, or the launcher is gone.
    """

    def __init__(
        self,
        comm: Any = None,
        *,
        transport: Transport | None = None,
        connection: Connection | None = None,
        job: str | None = None,
        single: bool = False,
    ) -> None:
        self.team: Team = team_of(comm)
        self._connection = connection
        self._job = job
        self._single = single
        self._transport = transport
        self._owns_transport = transport is None
        self._line: ControlLine | None = None
        self._sender: PartSender | None = None
        self._welcome: Welcome | None = None

    def __enter__(self) -> "Client":
        try:
            greeting = answer_of_rank_0(self.team, self._say_hello, _Greeting)
            problem = attempt(lambda: self._open(greeting))
            told = first_trouble(self.team, None if problem is None else trouble_of(self.team.rank, problem))
            if told is not None:
                raise problem or told.error()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            if self._owns_transport and self._transport is not None:
                stack.callback(self._transport.close)
            if self._line is not None:
                stack.callback(self._line.close)
            if self._sender is not None:
                stopped = isinstance(error, StudyStoppedError | ConnectionRefusedByStudyError)
                stack.callback(self._sender.close, 0.0 if stopped else _LINGER_S)
                if error is None:
                    self._flush(self._sender)
            if self._line is not None:
                settled = attempt(lambda: self._open_line.settle(_SETTLE_S))
                if error is None and settled is not None:
                    raise settled

    def next_session(self) -> Session | None:
        """The next simulation, or None when none is left for this job. Blocks until the launcher decides.

        Raises:
            StudyStoppedError: the study has ended, or the launcher is gone.
        """
        assert self._welcome is not None, "use the client as a context manager"
        assert self._connection is not None
        assert self._sender is not None
        told = answer_of_rank_0(self.team, self._request, Assignment | Finish)
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
        return Session(
            stream=stream,
            assignment=told,
            parameters=dict(zip(layout.parameters, told.parameters, strict=True)),
            team=self.team,
            line=self._open_line,
            job=self if self._single else None,
        )

    def _say_hello(self) -> _Greeting:
        """Rank 0 alone: ten thousand ranks need not read one file at the same moment."""
        connection = self._connection if self._connection is not None else connection_from_environment()
        job = self._job if self._job is not None else job_from_environment()
        _claim(connection.study, job, single=self._single)
        while True:
            try:
                return _Greeting(connection=connection, job=job, welcome=self._greeted(connection, job))
            except StudyStoppedError:
                newer = connection if self._connection is not None else connection_from_environment()
                if newer.launcher_incarnation <= connection.launcher_incarnation:
                    raise
            self._forget_launcher()
            connection = newer

    def _greeted(self, connection: Connection, job: str) -> Welcome:
        line = self._line_to(connection, job)
        line.post(Hello(num_ranks=self.team.size, host=socket.gethostname(), pid=os.getpid()))
        return line.expect(Welcome)

    def _forget_launcher(self) -> None:
        """It is gone: the next one was started while this job said hello, or this host has seen its file late."""
        self._open_line.close()
        self._line = None
        if self._owns_transport and self._transport is not None:
            self._transport.close()  # the keys may be others
            self._transport = None

    def _open(self, greeting: _Greeting) -> None:
        """Every rank, by itself: its ways to the launcher and to the server ranks."""
        self._connection, self._welcome = greeting.connection, greeting.welcome
        if self._line is None:
            self._line_to(greeting.connection, greeting.job)
        self._open_line.be_patient(self._welcome.orphan_timeout_s)
        self._sender = self._opened_transport(greeting.connection).part_sender(
            self._welcome.server_endpoints, budget_bytes=self._welcome.budget_bytes
        )

    def _request(self) -> Assignment | Finish:
        line = self._open_line
        line.post(Request())
        answer = line.expect(Assignment, Finish)
        assert isinstance(answer, Assignment | Finish)
        return answer

    def _ask_whether_alive(self, server_rank: int) -> None:
        """A send has been blocked for a heartbeat: legitimate as long as the launcher says that the study lives."""
        assert self._welcome is not None
        line = self._open_line
        line.post(Blocked(server_rank=server_rank))
        if line.expect(Welcome).server_incarnation != self._welcome.server_incarnation:
            raise StudyStoppedError("the server ranks were restarted: this attempt ends, a new one fills the holes")

    def _flush(self, sender: PartSender) -> None:
        assert self._welcome is not None
        while not sender.flush(self._welcome.heartbeat_s):
            self._ask_whether_alive(-1)

    @property
    def _open_line(self) -> ControlLine:
        assert self._line is not None, "use the client as a context manager"
        return self._line

    def _line_to(self, connection: Connection, job: str) -> ControlLine:
        self._line = ControlLine(
            self._opened_transport(connection),
            connection.endpoint,
            connection.identity(),
            ClientRank(job, self.team.rank),
        )
        return self._line

    def _opened_transport(self, connection: Connection) -> Transport:
        if self._transport is None:
            self._transport = ZmqTransport(credentials=connection.credentials)
        return self._transport


def _claim(study: bytes, job: str, *, single: bool) -> None:
    if (study, job) not in _claimed:
        _claimed[study, job] = single
        return
    if not single:
        raise SolverError(
            f"a second Client was made in {job}: make it once, and ask it for one simulation after another "
            "(next_session)"
        )
    raise SolverError(
        f"connect was called a second time in {job}: a solver with its own main runs one simulation and ends; to run "
        "many in one job, write it as a generator (solver.solve)"
        if _claimed[study, job]
        else f"connect was called in {job}, which is connected already: a generator (solver.solve) yields its time "
        "steps and connects to nothing; a program with a main of its own is started by solver.command"
    )
