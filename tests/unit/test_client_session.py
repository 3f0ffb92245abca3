"""A job of one rank and a launcher that is scripted: what is said, what is sent, and how a session ends."""

import numpy as np
import pytest

from melissa_like.client import Client, connect
from melissa_like.errors import ConnectionRefusedByStudyError, SolverError, StudyStoppedError
from melissa_like.protocol import control as say
from melissa_like.records import Box
from tests.unit.scripted_study import Study

ASSIGNMENT = say.Assignment(simulation=3, attempt=2, purpose=0, parameters=(0.5,), delivered_steps=((0, 2), (3, 4)))
FINISH = say.Finish(reason="no simulation is left")


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
                session.send(2, fields)  # type: ignore[arg-type]
            with pytest.raises(SolverError, match="the session of simulation 3 is over"):
                session.send(4, {"v": np.ones((2, 3, 4))})
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


def test_a_job_says_hello_once() -> None:
    """A generator that calls `connect`, or a main that makes a client for each simulation, would wait for ever."""
    with Study() as launcher:
        where = {"transport": launcher.transport, "connection": launcher.connection, "job": "job-0008"}
        with (
            Client(**where),  # type: ignore[arg-type]
            pytest.raises(SolverError, match="connect was called in job-0008, which is connected already: a generator"),
        ):
            connect(**where)  # type: ignore[arg-type]
        with pytest.raises(SolverError, match="a second Client was made in job-0008"), Client(**where):  # type: ignore[arg-type]
            pass
        assert len(launcher.of(say.Hello)) == 1


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
