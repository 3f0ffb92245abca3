"""A foreign client may say anything; the study ends with a sentence, not with a traceback."""

import threading
from pathlib import Path
from typing import Any

import pytest

from melissa_like.config import Config, FieldConfig, SolverConfig
from melissa_like.launcher.executors import InlineExecutor, JobSpec
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.shell import Shell
from melissa_like.launcher.vetting import fault_of
from melissa_like.protocol import control as say
from melissa_like.protocol.link import Link
from melissa_like.records import Purpose, StudyIdentity
from melissa_like.study import Journal, StudySettings, StudyState
from melissa_like.transport.in_memory import MemoryTransport

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"t" * 16)


def until_canceled(canceled: threading.Event) -> int:
    return 0 if canceled.wait(10.0) else 1


def goodbye(**changes: Any) -> say.Goodbye:
    said: dict[str, Any] = {"job": "job-0001", "simulation": 2, "attempt": 1, "num_steps": 2, "parts_sent": (2, 2)}
    return say.Goodbye(**{**said, **changes})


def failure(simulation: int) -> say.Failure:
    return say.Failure(job="job-0001", rank=0, simulation=simulation, attempt=1, message="")


def progress(rank: int, simulation: int) -> say.Progress:
    delivery = say.Delivery(simulation=simulation, attempt=1, steps=(0,), num_parts=1)
    return say.Progress(rank=rank, deliveries=(delivery,))


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("job-0001/0", goodbye()),
        ("job-0001/1", say.Blocked(job="job-0001", rank=1, server_rank=0)),
        ("job-0001/0", say.Acknowledge()),
        ("server-1", progress(1, 2)),
    ],
)
def test_sound_messages_pass(peer: str, message: say.ControlMessage) -> None:
    assert fault_of(peer, message, num_simulations=3, num_server_ranks=2) is None


@pytest.mark.parametrize(
    ("peer", "message", "words"),
    [
        ("job-0001/0", goodbye(simulation=3), "simulation 3, but the study has the simulations 0 to 2"),
        ("job-0001/0", goodbye(simulation=-1), "simulation -1"),
        ("job-0001/0", goodbye(parts_sent=(4,)), "1 numbers in parts_sent, but there are 2 server ranks"),
        ("job-0001/0", goodbye(parts_sent=(5, -1)), "count from 0"),
        ("job-0001/0", failure(99), "simulation 99"),
        ("job-0001/0", say.Finish(reason=""), "said Finish, which only the launcher says"),
        ("job-0002/0", goodbye(), "job-0002/0 said Goodbye for job-0001"),
        ("job-0001/0", progress(0, 0), "which only that server rank says"),
        ("server-2", say.Pressure(rank=2, put_waits=True), "server rank 2"),
        ("server-0", progress(0, 70), "simulation 70"),
    ],
)
def test_each_breach_is_named(peer: str, message: say.ControlMessage, words: str) -> None:
    fault = fault_of(peer, message, num_simulations=3, num_server_ranks=2)
    assert fault is not None
    assert words in fault


@pytest.mark.parametrize("message", [goodbye(), goodbye(simulation=0, parts_sent=(1, 2)), say.Stop(reason="")])
def test_a_breach_ends_the_study_with_a_sentence(tmp_path: Path, message: say.ControlMessage) -> None:
    config = Config(solver=SolverConfig(fields={"f": FieldConfig(shape=[4])}, parameters={"a": {}}))
    settings = StudySettings(purposes=(Purpose.TRAINING,), parameters=("a",), num_steps=2, num_ranks=1)
    state = StudyState(settings, lambda simulation: {"a": 0.0})
    transport = MemoryTransport()
    socket = transport.control_server(None)
    client = transport.control_client(socket.endpoint, b"job-0001/0")

    def spec(name: str) -> JobSpec:
        return JobSpec(name=name, call=until_canceled, log=tmp_path / f"{name}.log", working_directory=tmp_path)

    with (
        Journal(tmp_path) as journal,
        InlineExecutor(on_change=socket.wake) as executor,
    ):
        client.send(Link(IDENTITY).post(message, 0.0))
        Shell(
            config=config,
            state=state,
            journal=journal,
            peers=Peers(socket, IDENTITY),
            executor=executor,
            study="study",
            solver_spec=spec,
            server_spec=lambda rank: spec(f"server-{rank}"),
            log=lambda name: tmp_path / f"{name}.log",
            look=lambda: None,
        ).run()
    assert state.outcome == "failed"
    assert state.reason.startswith("the client broke the protocol: job-0001/0 said ")
