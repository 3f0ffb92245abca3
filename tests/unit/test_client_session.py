"""A job of one rank and a launcher that is scripted: what is said, what is sent, and how a session ends."""

import threading

import numpy as np
import pytest

from melissa_like.client import Client, connect
from melissa_like.errors import ConnectionRefusedByStudyError, SolverError, StudyStoppedError
from melissa_like.launcher.peers import Peers
from melissa_like.protocol import Connection
from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Header, Kind, decode
from melissa_like.records import Box
from melissa_like.transport.in_memory import MemoryTransport

ASSIGNMENT = say.Assignment(simulation=3, attempt=2, purpose=0, parameters=(0.5,), delivered_steps=((0, 2), (3, 4)))
FINISH = say.Finish(reason="no simulation is left")


class Study:
    """Answers every request by the next of its answers, and remembers what it was told."""

    def __init__(self, *answers: say.ControlMessage) -> None:
        self.transport = MemoryTransport()
        self.server = self.transport.control_server()
        self.receiver = self.transport.part_receiver(queue_length=100)
        self.connection = Connection(
            endpoint=self.server.endpoint, study=b"s" * 16, secret=b"k" * 16, launcher_incarnation=1
        )
        self.heard: list[say.ControlMessage] = []
        self._answers = list(answers)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> "Study":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self.server.wake()
        self._thread.join(10.0)

    def client(self, job: str = "job-0001") -> Client:
        return Client(transport=self.transport, connection=self.connection, job=job)

    def arrived(self) -> list[Header]:
        """The parts that have come, without the OPENs."""
        headers = []
        while (received := self.receiver.receive(lambda header: None, 0.0)) is not None:
            headers.append(decode(received.header))
        return [header for header in headers if header.kind is Kind.PART]

    def of(self, kind: type[say.ControlMessage]) -> list[say.ControlMessage]:
        return [message for message in self.heard if isinstance(message, kind)]

    def _answer(self) -> None:
        peers = Peers(self.server, self.connection.identity())
        while not self._over.is_set():
            received = peers.receive(0.05)
            if received is not None and received[1] is not None:
                peer, message = received
                self.heard.append(message)
                if isinstance(message, say.Hello):
                    peers.tell(peer, self._welcome())
                elif isinstance(message, say.Request):
                    peers.tell(peer, self._answers.pop(0))
            peers.repeat()

    def _welcome(self) -> say.ControlMessage:
        return say.Welcome(
            server_endpoints=(self.receiver.endpoint,),
            server_incarnation=1,
            launcher_incarnation=1,
            routing=0,
            layout_id=7,
            fields=(say.WireField(name="v", shape=(2, 3, 4), dtype="float32", components=2),),
            parameters=("a",),
            num_steps=None,
            budget_bytes=2**20,
            heartbeat_s=5.0,
        )


def test_a_job_runs_one_simulation_after_another() -> None:
    with Study(ASSIGNMENT, FINISH) as launcher:
        with launcher.client() as client:
            session = client.next_session()
            assert session is not None
            assert (session.simulation, session.parameters) == (3, {"a": 0.5})
            for step in np.arange(5):
                session.send(step, {"v": np.ones((2, 3, 4))})
            session.close(num_steps=5)
            arrived = launcher.arrived()
            assert client.next_session() is None
        assert [header.step for header in arrived] == [2, 4]
        assert {header.box for header in arrived} == {Box((0, 0, 0), (2, 3, 4))}
        (goodbye,) = launcher.of(say.Goodbye)
    assert goodbye == say.Goodbye(simulation=3, attempt=2, num_steps=5, parts_sent=(2,))


def test_the_steps_that_are_there_can_be_asked_for() -> None:
    with Study(ASSIGNMENT) as launcher, launcher.client() as client:
        session = client.next_session()
        assert session is not None
        assert list(session.delivered_steps) == [0, 1, 3]
        assert [step for step in np.arange(5) if step not in session.delivered_steps] == [2, 4]
        session.close()


@pytest.mark.parametrize(
    ("fields", "kind", "words", "breaks_contract"),
    [
        ({"v": [[[1.0], [1.0, 2.0]]]}, SolverError, "sent a list that is no array", True),
        (None, SolverError, "a step's fields are a NoneType", True),
        ({"v": np.ones((2, 3, 4), complex)}, SolverError, "dtype complex128", True),
        ({("v",): np.ones(3)}, SolverError, "is not declared", True),
    ],
)
def test_an_error_is_reported_once_and_the_session_is_over(
    fields: object, kind: type[Exception], words: str, breaks_contract: bool
) -> None:
    with Study(ASSIGNMENT) as launcher:
        with launcher.client() as client:
            session = client.next_session()
            assert session is not None
            session.send(0, {"v": np.ones((2, 3, 4))})
            with pytest.raises(kind, match=words):
                session.send(1, fields)  # type: ignore[arg-type]
            with pytest.raises(SolverError, match="the session of simulation 3 is over"):
                session.send(2, {"v": np.ones((2, 3, 4))})
            session.close()
            session.fail("something else")
        (failure,) = launcher.of(say.Failure)
        assert launcher.of(say.Goodbye) == []
    assert isinstance(failure, say.Failure)
    assert (failure.simulation, failure.attempt, failure.breaks_contract) == (3, 2, breaks_contract)
    assert words in failure.message


def test_what_the_solver_raises_itself_is_told_with_its_last_lines() -> None:
    with Study(ASSIGNMENT) as launcher:
        with launcher.client() as client:
            session = client.next_session()
            assert session is not None
            with pytest.raises(ArithmeticError), session:
                raise ArithmeticError("the Newton iteration diverged")
        (failure,) = launcher.of(say.Failure)
    assert isinstance(failure, say.Failure)
    assert not failure.breaks_contract
    assert failure.message.endswith("ArithmeticError: the Newton iteration diverged")
    assert "Traceback" in failure.message


def test_connect_is_for_one_simulation() -> None:
    with Study(ASSIGNMENT) as launcher:
        where = {"transport": launcher.transport, "connection": launcher.connection, "job": "job-0007"}
        with connect(**where) as session:  # type: ignore[arg-type]
            session.send(2, {"v": np.ones((2, 3, 4))})
            launcher.arrived()
        session.close()
        with pytest.raises(SolverError, match="connect was called a second time in job-0007"):
            connect(**where)  # type: ignore[arg-type]
        assert len(launcher.of(say.Hello)) == len(launcher.of(say.Goodbye)) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (FINISH, StudyStoppedError),
        (say.Stop(reason="interrupted"), StudyStoppedError),
        (say.Refused(reason="not of this study"), ConnectionRefusedByStudyError),
    ],
)
def test_connect_without_a_simulation(answer: say.ControlMessage, kind: type[Exception]) -> None:
    with Study(answer) as launcher, pytest.raises(kind):
        connect(transport=launcher.transport, connection=launcher.connection, job=f"job-{type(answer).__name__}")
