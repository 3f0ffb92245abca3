"""The launcher's loop over memory instead of sockets."""

import threading
from pathlib import Path

from melissa_like.config import Config, FieldConfig, LauncherConfig, SolverConfig
from melissa_like.launcher.executors import InlineExecutor, JobSpec
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.shell import Shell
from melissa_like.protocol import control as say
from melissa_like.protocol.link import Link
from melissa_like.records import Purpose, StudyIdentity
from melissa_like.study import Journal, SimulationState, StudySettings, StudyState, read_journal
from melissa_like.study import events as ev
from melissa_like.transport.in_memory import MemoryTransport

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"t" * 16)
CONFIG = Config(
    solver=SolverConfig(fields={"f": FieldConfig(shape=[4])}, parameters={"a": {}}),
    launcher=LauncherConfig(grace_s=0.0),
)
SETTINGS = StudySettings(
    purposes=(Purpose.TRAINING,), parameters=("a",), num_steps=2, num_ranks=1, delivery_timeout_s=0.05
)


def until_canceled(canceled: threading.Event) -> int:
    return 0 if canceled.wait(10.0) else 1


def new_state() -> StudyState:
    return StudyState(SETTINGS, lambda simulation: {"a": 0.0})


def test_a_clock_that_runs_out_without_a_command_is_in_the_journal(tmp_path: Path) -> None:
    """The parts of a simulation never arrive after its goodbye: the attempt has failed, nothing is to be done yet."""
    state, transport = new_state(), MemoryTransport()
    socket = transport.control_server(None)
    server = transport.control_client(socket.endpoint, b"server-0")
    server.send(Link(IDENTITY).post(say.ServerHello(rank=0, endpoint="e", host="h", pid=1, device="cpu"), 0.0))
    client, link = transport.control_client(socket.endpoint, b"job-0001/0"), Link(IDENTITY)
    for message in (
        say.Hello(job="job-0001", rank=0, num_ranks=1, host="h", pid=2),
        say.Request(job="job-0001"),
        say.Goodbye(job="job-0001", simulation=0, attempt=1, num_steps=2, parts_sent=(2,)),
    ):
        client.send(link.post(message, 0.0))

    def spec(name: str) -> JobSpec:
        return JobSpec(name=name, call=until_canceled, log=tmp_path / f"{name}.log", working_directory=tmp_path)

    def look() -> None:
        if state.simulations[0].attempt == 1 and state.simulations[0].state is SimulationState.WAITING:
            shell.interrupt("seen enough")

    with (
        Journal(tmp_path) as journal,
        InlineExecutor(on_change=socket.wake) as executor,
    ):
        shell = Shell(
            config=CONFIG,
            state=state,
            journal=journal,
            peers=Peers(socket, IDENTITY),
            executor=executor,
            study="study",
            solver_spec=spec,
            server_spec=lambda rank: spec(f"server-{rank}"),
            log=lambda name: tmp_path / f"{name}.log",
            look=look,
        )
        shell.run()
    again = new_state()
    entries = list(read_journal(tmp_path))
    for entry in entries:
        again.handle(entry.event, entry.at_s)
    assert any(isinstance(entry.event, ev.Tick) for entry in entries)
    assert (again.outcome, again.reason) == (state.outcome, state.reason) == ("stopped", "seen enough")
    assert again.simulations[0].state is state.simulations[0].state is SimulationState.WAITING
    assert again.simulations[0].told() == state.simulations[0].told()
