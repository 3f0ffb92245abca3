"""The launcher's loop over memory instead of sockets."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.launcher.drawing import Drawing
from melissa_like.launcher.executors import InlineExecutor, JobSpec, JobState, JobUpdate, Traits
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.shell import Shell
from melissa_like.protocol import control as say
from melissa_like.protocol.link import Link
from melissa_like.protocol.reports import Summary
from melissa_like.records import ClientRank, Purpose, ServerRank, StudyIdentity
from melissa_like.sampling import DesignSampler, MonteCarlo, StudySamplers, Uniform
from melissa_like.study import Journal, SimulationState, StudySettings, StudyState, read_journal
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from melissa_like.transport import ControlClient
from melissa_like.transport.in_memory import MemoryTransport
from tests.unit.test_study_state import WELCOME

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"t" * 16)
DEADLINE_S = 10.0
DISTRIBUTIONS = {"a": Uniform(low=0, high=10)}


def settings(**changes: object) -> StudySettings:
    return StudySettings(**{"welcome": WELCOME, "num_simulations": 1, **changes})  # type: ignore[arg-type]


class Commands:
    """Jobs that run until they are canceled, or as long as they are told."""

    def __init__(self, folder: Path, run: Callable[[threading.Event], int]) -> None:
        self._folder = folder
        self._run = run

    def server_spec(self, address: ServerRank, *, tried: bool = False) -> JobSpec:
        return self._spec(str(address))

    def solver_spec(self, job: str) -> JobSpec:
        return self._spec(job)

    def _spec(self, name: str) -> JobSpec:
        return JobSpec(name=name, call=self._run, log=self._folder / f"{name}.log", working_directory=self._folder)


class World:
    """A shell and what it speaks to: clients over memory, jobs as threads, a sampler."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.folder = folder
        self.settings = settings(**changes)
        self.state = StudyState(self.settings)
        self.transport = MemoryTransport()
        self.socket = self.transport.control_server(None)
        self.look: Callable[[], None] = lambda: None
        self.run_job: Callable[[threading.Event], int] = lambda canceled: 0 if canceled.wait(10.0) else 1
        self.executor: object = InlineExecutor(on_change=self.socket.wake)
        self.peers: list[threading.Thread] = []
        self.over = threading.Event()
        self.server_timeout_s = 60.0
        self.save_timeout_s = 0.0
        self.sampler: object = DesignSampler(MonteCarlo(DISTRIBUTIONS, num_simulations=1, seed=0))

    def connect(self, address: ServerRank | ClientRank) -> ControlClient:
        """Through the door of its kind."""
        is_server = isinstance(address, ServerRank)
        endpoint = self.socket.server_endpoint if is_server else self.socket.endpoint
        return self.transport.control_client(endpoint, str(address).encode())

    def play(self, address: ServerRank | ClientRank, *first: say.ControlMessage, **answers: say.ControlMessage) -> None:
        """A peer that says something first and then answers messages, by their type, until the study is over."""

        def run() -> None:
            client = self.connect(address)
            link = Link(IDENTITY)
            while isinstance(address, ClientRank) and address.job not in self.state.jobs.alive:
                if self.over.wait(0.005):  # a job speaks when it was started
                    return
            for message in first:
                client.send(link.post(message, 0.0))
            while not self.over.is_set():
                received = client.receive(0.02)
                heard = None if received is None else link.receive(received)
                answer = answers.get(type(heard).__name__)
                if answer is not None:
                    client.send(link.post(answer, 0.0))

        self.peers.append(threading.Thread(target=run, name=str(address)))

    def run(self) -> Shell:
        with closing(self.transport), ExitStack() as stack:
            journal = stack.enter_context(Journal(self.folder))
            executor = stack.enter_context(self.executor)  # type: ignore[arg-type]
            samplers = StudySamplers(self.sampler, DISTRIBUTIONS, seed=0)  # type: ignore[arg-type]
            shell = Shell(
                state=self.state,
                journal=journal,
                peers=Peers(self.socket, IDENTITY),
                executor=executor,
                study="study",
                commands=Commands(self.folder, lambda canceled: self.run_job(canceled)),
                drawing=stack.enter_context(Drawing(samplers, self.socket.wake)),
                log=lambda name: self.folder / f"{name}.log",
                look=lambda: self.look(),
                server_timeout_s=self.server_timeout_s,
                grace_s=0.0,
                save_timeout_s=self.save_timeout_s,
            )
            self.shell = shell
            for peer in self.peers:
                peer.start()
            try:
                shell.run()
            finally:
                self.over.set()
                for peer in self.peers:
                    peer.join(DEADLINE_S)
        return shell

    def replayed(self) -> StudyState:
        again = StudyState(self.settings)
        for entry in read_journal(self.folder):
            again.handle(entry.event, entry.at_s)
        return again


SERVER_HELLO = say.ServerHello(endpoint="e", host="h", pid=1, device="cpu")
HELLO = say.Hello(num_ranks=1, host="h", pid=2)
GOODBYE = say.Goodbye(simulation=0, attempt=1, num_steps=2, parts_sent=(2,))


def test_a_clock_that_runs_out_without_a_command_is_in_the_journal(tmp_path: Path) -> None:
    """The parts of a simulation never arrive after its goodbye: the attempt has failed, nothing is to be done yet."""
    world = World(tmp_path, delivery_timeout_s=0.05)
    world.play(ServerRank(0), SERVER_HELLO)
    world.play(ClientRank("job-0001"), HELLO, say.Request(), Assignment=GOODBYE)

    def look() -> None:
        ledger = world.state.ledger
        if len(ledger) and ledger.attempts_of(0) == 1 and ledger.state_of(0) is SimulationState.WAITING:
            world.shell.interrupt("seen enough")

    world.look = look
    world.run()
    again, ledger = world.replayed(), world.state.ledger
    assert any(isinstance(entry.event, ev.Tick) for entry in read_journal(tmp_path))
    assert (again.outcome, again.reason) == (world.state.outcome, world.state.reason) == ("stopped", "seen enough")
    assert again.ledger.state_of(0) is ledger.state_of(0) is SimulationState.WAITING
    assert again.ledger.story_of(0) == ledger.story_of(0) != ""


DELIVERED = say.Progress(deliveries=(say.Delivery(simulation=0, attempt=1, steps=(0, 1), num_parts=2),))
FINISHED = say.ServerFinished(end="drained", summary=Summary())
SAVED = Summary(trained_on=7, surrogate="incomplete")


class Ending:
    """An executor whose jobs have all ended by the time the launcher looks again, as after it stood still."""

    traits = Traits(in_process=True)

    def __init__(self, world: World, needs: Callable[[], bool]) -> None:
        self._world = world
        self._needs = needs
        self._names: list[str] = []
        self._told = False

    def __enter__(self) -> "Ending":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing runs."""

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        self._names += [spec.name for spec in specs]
        return {spec.name: spec.name for spec in specs}

    def poll(self) -> tuple[JobUpdate, ...]:
        if self._told or not self._needs():
            return ()
        self._told = True
        return tuple(JobUpdate(name=name, state=JobState.COMPLETED, message="exit code 0") for name in self._names)

    def cancel(self, handle: str) -> None:
        """Nothing runs."""


def test_what_waits_is_read_before_the_ends_of_processes_are_believed(tmp_path: Path) -> None:
    """The launcher stood still: the last words of job and server rank wait in the socket, and both are gone."""
    world = World(tmp_path)
    address, server_address = ClientRank("job-0001"), ServerRank(0)
    server, client = world.connect(server_address), world.connect(address)
    server_link, client_link = Link(IDENTITY), Link(IDENTITY)
    server.send(server_link.post(SERVER_HELLO, 0.0))
    greeted: list[bool] = []

    def assigned() -> bool:
        """Once the simulation runs everybody says the rest and ends, between two looks of the launcher."""
        if address.job in world.state.jobs.alive and not greeted:
            greeted.append(True)
            for message in (HELLO, say.Request()):
                client.send(client_link.post(message, 0.0))
        if not world.state.ledger.in_progress:
            return False
        client.send(client_link.post(GOODBYE, 0.0))
        for message in (DELIVERED, FINISHED):
            server.send(server_link.post(message, 0.0))
        return True

    world.executor = Ending(world, assigned)
    world.run()
    assert world.state.outcome == "completed", world.state.reason
    assert world.state.ledger.num_restarts == 0


def test_an_event_that_breaks_the_state_is_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    handle = StudyState.handle

    def break_at_hello(self: StudyState, event: ev.Event, now: float) -> object:
        if isinstance(event, ev.Said):
            raise ZeroDivisionError
        return handle(self, event, now)

    monkeypatch.setattr(StudyState, "handle", break_at_hello)
    world.play(ServerRank(0), SERVER_HELLO)
    with pytest.raises(ZeroDivisionError):
        world.run()
    assert [entry.event for entry in read_journal(tmp_path)][-1] == ev.Said(address=ServerRank(0), message=SERVER_HELLO)


def test_the_question_of_a_blocked_rank_is_answered_and_not_journaled(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.play(ServerRank(0), SERVER_HELLO)
    blocked = say.Blocked(server_rank=0)
    world.play(ClientRank("job-0001"), HELLO, say.Request(), Assignment=blocked, Welcome=blocked)
    asked: list[int] = []

    def look() -> None:
        asked.append(0)
        if len(asked) > 3:
            world.shell.interrupt("seen enough")

    world.look = look
    world.run()
    said = [entry.event.message for entry in read_journal(tmp_path) if isinstance(entry.event, ev.Said)]
    assert not any(isinstance(message, say.Blocked) for message in said)
    assert any(isinstance(message, say.Request) for message in said)


class Refusing(InlineExecutor):
    """An executor that does not keep its contract: it raises what it should tell."""

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        if any(spec.name.startswith("job-") for spec in specs):
            raise OSError("the scheduler does not answer")
        return super().submit(specs, study)


def test_a_journal_for_which_there_is_no_room_leads_to_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").symlink_to("/dev/full")
    world = World(tmp_path)
    world.play(ServerRank(0), SERVER_HELLO)
    world.run()
    assert world.state.outcome == "failed"
    assert world.state.reason == (
        f"the launcher cannot write to {tmp_path} (No space left on device), so it has ended the study: make room, or "
        "choose another run_dir"
    )


TRAINED = say.Metrics(batches=3)


@pytest.mark.parametrize("end", ["failed", "stopped"])
def test_a_server_rank_that_has_trained_may_save_and_report_after_the_verdict(tmp_path: Path, end: str) -> None:
    world = World(tmp_path)
    world.save_timeout_s = DEADLINE_S
    ended, may_fail = threading.Event(), threading.Event()
    world.run_job = lambda canceled: 0 if ended.wait(DEADLINE_S) else 1

    def give(simulations: range) -> object:
        assert may_fail.wait(DEADLINE_S)
        raise ValueError("no idea")

    if end == "failed":
        world.sampler = SimpleNamespace(next=give, observe=None)
    world.play(ServerRank(0), SERVER_HELLO, TRAINED, Stop=say.ServerFinished(end="stopped", summary=SAVED))

    def look() -> None:
        if world.state.outcome is None and world.shell.observations.metrics:
            if end == "stopped":
                world.shell.interrupt("seen enough")
            else:
                may_fail.set()
        if world.shell.observations.summaries:
            ended.set()

    world.look = look
    shell = world.run()
    assert world.state.outcome == end
    assert shell.observations.summaries == {0: SAVED}


@pytest.mark.parametrize("why", ["nothing was trained", "another interruption", "the rank is silent"])
def test_a_server_rank_that_has_nothing_to_save_is_not_waited_for(tmp_path: Path, why: str) -> None:
    world = World(tmp_path)
    world.save_timeout_s = 1000.0
    if why == "the rank is silent":
        world.server_timeout_s = 0.6
    world.play(ServerRank(0), SERVER_HELLO, *(() if why == "nothing was trained" else (TRAINED,)))

    def look() -> None:
        known = bool(world.shell.observations.metrics) or why == "nothing was trained"
        if world.state.server_ready and known and (world.state.outcome is None or why == "another interruption"):
            world.shell.interrupt("seen enough")

    world.look = look
    world.run()
    assert world.state.outcome == "stopped"


def test_an_executor_that_raises_in_mid_study_leads_to_a_verdict(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.executor = Refusing(on_change=world.socket.wake)
    world.play(ServerRank(0), SERVER_HELLO)
    world.run()
    assert world.state.outcome == "failed"
    assert "the scheduler does not answer" in world.state.reason


class Queueing(InlineExecutor):
    """Tells of every job that it waits before it tells anything else."""

    def poll(self) -> tuple[JobUpdate, ...]:
        told = super().poll()
        waits = (
            JobUpdate(name=u.name, state=JobState.QUEUED, message="Priority") for u in told if not u.state.is_final
        )
        return (*waits, *told)


def test_why_jobs_wait_is_seen_until_they_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.executor = Queueing(on_change=world.socket.wake)
    seen: list[dict[str, str]] = []
    world.play(ServerRank(0), SERVER_HELLO)

    def look() -> None:
        seen.append(dict(world.shell.observations.pending))
        if world.state.jobs.starting:
            world.shell.interrupt("seen enough")

    world.look = look
    world.run()
    assert seen[-1] == {}
    events = [entry.event for entry in read_journal(tmp_path)]
    assert ev.ServerQueued(address=ServerRank(0)) in events
    assert ev.ServerStarted(address=ServerRank(0)) in events


def test_the_log_of_a_job_that_ends_early_is_quoted_whatever_its_exit_code(tmp_path: Path) -> None:
    def leave(canceled: threading.Event) -> int:
        if threading.current_thread().name != "job-job-0001":
            return 0 if canceled.wait(DEADLINE_S) else 1
        (tmp_path / "job-0001.log").write_text("no licence for this solver\n")
        return 0

    world = World(tmp_path, max_failed_starts=1)
    world.run_job = leave
    world.play(ServerRank(0), SERVER_HELLO)
    world.run()
    assert world.state.outcome == "failed"
    assert "the solver does not start: job-0001 ended (exit code 0)" in world.state.reason
    assert "no licence for this solver" in world.state.reason


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (ValueError("no such file"), "raise raised\n"),
        (KeyError("a"), "KeyError"),
        (SystemExit(3), "SystemExit"),
    ],
)
def test_a_sampler_that_raises_leads_to_a_verdict(tmp_path: Path, raised: BaseException, words: str) -> None:
    def give(simulations: range) -> object:
        raise raised

    world = World(tmp_path)
    world.sampler = SimpleNamespace(next=give, observe=None)
    world.run()
    assert world.state.outcome == "failed"
    assert words in world.state.reason


def test_a_sampler_sees_the_losses_before_it_is_asked_again() -> None:
    seen: list[tuple[list[list[int]], list[float]]] = []

    class Curious:
        def next(self, simulations: range) -> list[list[float]]:
            return [[float(len(seen) + number)] for number in simulations]

        def observe(self, keys: np.ndarray, losses: np.ndarray) -> None:
            seen.append((keys.tolist(), losses.tolist()))

        def state_dict(self) -> dict[str, object]:
            return {}

    answered = threading.Event()
    samplers = StudySamplers(Curious(), DISTRIBUTIONS, seed=0)  # type: ignore[arg-type]
    with Drawing(samplers, answered.set) as drawing:
        drawing.observe(say.Losses(keys=((0, 1), (0, 0)), losses=(0.5, 2.0)))
        drawing.ask(do.AskParameters(purpose=Purpose.TRAINING, first=5, num=2))
        assert answered.wait(DEADLINE_S)
        (event,) = drawing.take()
    assert seen == [([[0, 1], [0, 0]], [0.5, 2.0])]
    assert event == ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((6.0,), (7.0,)))
