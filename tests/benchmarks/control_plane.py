"""Row 9: simulations per second that the launcher can look after, alone and through its sockets; replay; memory.

`sockets` is the launcher as it is (loop, state, journal, links, ZeroMQ) in a process of its own; a second process
speaks for a thousand solver jobs and for the server rank, so that nothing but the control plane is measured. Its
clients are no cheaper than real ones: the rate is what launcher and clients reach together on two cores.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import zmq
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from melissa_like.config import Config
from melissa_like.launcher.executors import FoundJob, JobSpec, JobState, JobUpdate, Traits
from melissa_like.launcher.run import Launch, prepare
from melissa_like.protocol import Connection, read_connection
from melissa_like.protocol import control as say
from melissa_like.protocol.keys import Credentials
from melissa_like.protocol.link import Link
from melissa_like.protocol.reports import Summary
from melissa_like.records import ClientRank, Purpose, ServerRank
from melissa_like.study import (
    Entry,
    Journal,
    Launches,
    Replayed,
    SnapshotContent,
    StudySettings,
    StudyState,
    read_journal,
)
from melissa_like.study import events as ev
from melissa_like.study import replay as replay_study
from melissa_like.study.snapshots import SNAPSHOT_FILE
from melissa_like.transport.admission import show
from tests.benchmarks.measure import Row, print_rows, shown

ROUNDS = 3
NUM_SIMULATIONS = 10_000
NUM_CLIENTS = 1000
NUM_EVENTS = 1_000_000
EVENTS_PER_TURN = 50  # of a launcher that is busy: the journal is synced once for them
STEPS_PER_SIMULATION = 100
NUM_JOBS = 16
MANY_SIMULATIONS = 1_000_000
MANY_CLIENTS = 100
PAUSES = 21
_JOBS_MAY_SPEAK = "jobs-may-speak"
UNIFORM = "{_target_:melissa_like.sampling.Uniform,low:0,high:1}"


def one_number(parameters: Mapping[str, float], comm: object) -> Iterator[tuple[int, dict[str, object]]]:
    """A solver that computes nothing and sends one number."""
    yield 0, {"u": np.array([parameters["a"]], dtype=np.float32)}


def overrides(*more: str) -> list[str]:
    """A study of that solver."""
    return [
        "solver=empty",
        "solver.name=one_number",
        "solver.num_ranks=1",
        "+solver.solve._target_=tests.benchmarks.control_plane.one_number",
        "+solver.fields.u={shape:[1],bounds:[-1,1]}",
        "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:0,high:1}",
        "sampling=monte_carlo",
        f"study.num_simulations={NUM_SIMULATIONS}",
        "study.num_validation_simulations=0",
        "buffer.capacity=16",
        "training.batch_size=4",
        "monitoring.figures=false",
        "monitoring.tensorboard=false",
        *more,
    ]


def composed(run_dir: Path, *more: str) -> DictConfig:
    """The configuration of a study."""
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        return compose("config", overrides=[f"run_dir={run_dir}", *overrides(*more)])


# -- the two processes of the socket case -----------------------------------------------------------------------------


class CrowdExecutor:
    """Starts one process that plays every job."""

    traits = Traits()

    def __init__(self, run_dir: Path, num_clients: int) -> None:
        self._run_dir = run_dir
        self._num_clients = num_clients
        self._updates: list[JobUpdate] = []
        self._crowd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close(10.0)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """The crowd plays the server rank as well, and knows the jobs' names; it is told when the first may speak."""
        self._updates += [JobUpdate(name=spec.name, state=JobState.ACTIVE) for spec in specs]
        if any(spec.name.startswith("job-") for spec in specs):
            (self._run_dir / _JOBS_MAY_SPEAK).touch()
        if self._crowd is None:
            crowd = ["tests.benchmarks.control_plane", "crowd", str(self._run_dir), str(self._num_clients)]
            self._crowd = subprocess.Popen([sys.executable, "-m", *crowd])
        return {spec.name: spec.name for spec in specs}

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """Nobody asks here."""
        return ()

    def poll(self) -> tuple[JobUpdate, ...]:
        """Starts only: the crowd ends with the study."""
        updates, self._updates = tuple(self._updates), []
        return updates

    def cancel(self, handle: str) -> None:
        """Nothing: no job fails here."""

    def close(self, timeout_s: float) -> None:
        """Wait for the crowd."""
        if self._crowd is not None:
            self._crowd.wait(timeout_s)


def launcher(run_dir: Path, *more: str) -> None:
    """The launcher of the socket case; prints what it measured."""
    num_simulations = int(more[0]) if more else NUM_SIMULATIONS
    num_clients = int(more[1]) if more else NUM_CLIENTS
    overrides = [
        "solver.num_steps=1",
        f"launcher.max_jobs={num_clients}",
        "launcher.grace_s=0",
        f"study.num_simulations={num_simulations}",
    ]
    if more:
        overrides += ["sampling=latin_hypercube"]
        overrides += [f"+solver.parameters.{name}={UNIFORM}" for name in "bcde"]
    composed_at = time.monotonic()
    config, samplers = prepare(study := composed(run_dir, *overrides))
    started_s = time.process_time()
    with Launch(
        config=config,
        samplers=samplers,
        composed=study,
        run_dir=run_dir,
        executor=lambda on_change: CrowdExecutor(run_dir, num_clients),
    ) as launch:
        watch = FirstAssignment(launch)
        launch.run()
        at_end = resident_bytes()
        report = launch.report()
    busy_s = time.process_time() - started_s
    assert report["outcome"] == "completed", report
    requested = delivered = 0.0
    for entry in read_journal(run_dir):
        if isinstance(entry.event, ev.Said):
            if isinstance(entry.event.message, say.Request):
                requested = requested or entry.at_s
            elif isinstance(entry.event.message, say.Progress):
                delivered = entry.at_s
    replayed = _resumed(run_dir)
    (run_dir / SNAPSHOT_FILE).unlink(missing_ok=True)
    whole = _resumed(run_dir)
    sys.stdout.write(
        json.dumps(
            {
                "rate": num_simulations / (delivered - requested),
                "launcher_rate": num_simulations / busy_s,
                "rss": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "rss_at_start": watch.rss,
                "rss_at_end": at_end,
                "first_assignment_s": watch.at_s - composed_at,
                **replayed,
                "whole_s": whole["replay_s"],
                "whole_busy_s": whole["replay_busy_s"],
            }
        )
    )


def _resumed(run_dir: Path) -> dict[str, float]:
    """What `again` measures, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.control_plane", "again", str(run_dir)]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def resident_bytes() -> float:
    """Memory that this process has now."""
    return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class FirstAssignment:
    """Looks, on a thread of its own, when the first simulation is assigned, and how much memory there is then."""

    def __init__(self, launch: Launch) -> None:
        self.at_s = self.rss = 0.0
        self._launch = launch
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._launch.state.ledger.in_progress:
            time.sleep(0.002)
        self.at_s = time.monotonic()
        time.sleep(0.5)  # what a start frees is given back by then
        self.rss = resident_bytes()


class Peer:
    """One fake client's socket and link."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, link: Link, name: str, credentials: Credentials
    ) -> None:
        self.name = name.partition("/")[0]
        self.link = link
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.LINGER, 1000)
        show(self.socket, credentials, None if credentials.keys is None else credentials.keys.launcher)
        self.socket.connect(endpoint)

    def post(self, *messages: say.ControlMessage) -> None:
        """Send."""
        for message in messages:
            self.socket.send(self.link.post(message, time.monotonic()))

    def hear(self) -> list[say.ControlMessage]:
        """What has come."""
        heard = []
        while True:
            try:
                message = self.link.receive(self.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                break
            if message is not None:
                heard.append(message)
        return heard

    def acknowledge(self) -> None:
        """As a real end does after each message."""
        for encoded in self.link.due(time.monotonic()):
            self.socket.send(encoded)


def crowd(run_dir: Path, *more: str) -> None:
    """Many solver jobs and the server rank, until the launcher says that the reception is over."""
    num_clients = int(more[0])
    server_rank, of_a_job = read_connection(run_dir, "server"), read_connection(run_dir)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, num_clients + 100)
    poller = zmq.Poller()

    def peer(name: str, endpoint: str, connection: Connection) -> Peer:
        made = Peer(context, endpoint, Link(connection.identity()), name, connection.credentials)
        poller.register(made.socket, zmq.POLLIN)
        return made

    server = peer("server-0", server_rank.server_endpoint, server_rank)
    server.post(say.ServerHello(endpoint="tcp://127.0.0.1:1", host="here", pid=1, device="cpu"))
    while not (run_dir / _JOBS_MAY_SPEAK).exists():  # a job that speaks before it was submitted is refused
        time.sleep(0.001)
    names = (f"job-{number + 1:04d}/0" for number in range(num_clients))
    jobs = {made.socket: made for made in (peer(name, of_a_job.endpoint, of_a_job) for name in names)}
    for job in jobs.values():
        job.post(say.Hello(num_ranks=1, host="here", pid=1))
    over, launcher_pid = False, os.getppid()
    while not over and os.getppid() == launcher_pid:
        deliveries = []
        for socket, _ in poller.poll(1000):
            if socket is server.socket:
                over = any(isinstance(message, say.ReceptionOver) for message in server.hear())
                server.acknowledge()
                continue
            job = jobs[socket]
            for message in job.hear():
                if isinstance(message, say.Welcome):
                    job.post(say.Request())
                elif isinstance(message, say.Assignment):
                    mine = {"simulation": message.simulation, "attempt": message.attempt}
                    job.post(say.Goodbye(num_steps=1, parts_sent=(1,), **mine), say.Request())
                    deliveries.append(say.Delivery(steps=(0,), num_parts=1, **mine))
            job.acknowledge()
        if deliveries:
            server.post(say.Progress(deliveries=tuple(deliveries)))
    server.post(say.ServerFinished(end="drained", summary=Summary()))
    while not server.link.settled and os.getppid() == launcher_pid:  # as a server rank waits: closing loses messages
        if server.socket.poll(100):
            server.hear()
        server.acknowledge()
    context.destroy(linger=2000)


# -- everything in one process ----------------------------------------------------------------------------------------


def inline(run_dir: Path, *more: str) -> None:
    """10,000 simulations of one number in one process; prints what it measured."""
    from melissa_like.launcher.run import run_study

    # Whatever comes fits into the buffer, and the training, which would share the process, begins when all is there.
    late = ["buffer=firo", f"buffer.capacity={NUM_SIMULATIONS}", f"buffer.watermark={NUM_SIMULATIONS - 1}"]
    report = run_study(composed(run_dir, "launcher=inline", "training.batch_size=1000", *late), run_dir)
    assert report["simulations"]["completed"] == NUM_SIMULATIONS, report
    requested = [
        entry.at_s
        for entry in read_journal(run_dir)
        if isinstance(entry.event, ev.Said) and isinstance(entry.event.message, say.Request)
    ]
    rss = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"rate": NUM_SIMULATIONS / (requested[-1] - requested[0]), "rss": rss}))


# -- replay -----------------------------------------------------------------------------------------------------------


def events() -> Iterator[ev.Event]:
    """The life of a study of many simulations, each step reported by itself, on sixteen jobs."""
    server = ServerRank(0)
    yield ev.StudyStarted(settings=replay_settings())
    yield ev.Said(address=server, message=say.ServerHello(endpoint="e", host="h", pid=1, device="cpu"))
    jobs = [ClientRank(f"job-{number + 1:04d}") for number in range(NUM_JOBS)]
    num_simulations = NUM_EVENTS // (STEPS_PER_SIMULATION + 2)
    listed = 0
    for simulation in range(num_simulations):
        if listed - simulation <= NUM_JOBS:  # as the launcher asks: up to two simulations a job ahead
            more = min(2 * NUM_JOBS - (listed - simulation), num_simulations - listed)
            if more:
                listed += more
                yield ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((0.5,),) * more)
        job, mine = jobs[simulation % NUM_JOBS], {"simulation": simulation, "attempt": 1}
        if simulation < NUM_JOBS:
            yield ev.JobStarted(job=job.job)
            yield ev.Said(address=job, message=say.Hello(num_ranks=1, host="h", pid=1))
        yield ev.Said(address=job, message=say.Request())
        for step in range(STEPS_PER_SIMULATION):
            delivery = say.Delivery(steps=(step,), num_parts=1, **mine)
            yield ev.Said(address=server, message=say.Progress(deliveries=(delivery,)))
        goodbye = say.Goodbye(num_steps=STEPS_PER_SIMULATION, parts_sent=(STEPS_PER_SIMULATION,), **mine)
        yield ev.Said(address=job, message=goodbye)


def replay(run_dir: Path, *more: str) -> None:
    """Write a journal, read it back into a new state; prints what it measured."""
    run_dir.mkdir()
    began = time.perf_counter()
    with Journal(run_dir) as journal:
        for number, event in enumerate(events()):
            journal.append(Entry(at_s=0.001 * number, event=event))
            if number % EVENTS_PER_TURN == 0:
                journal.sync()
    written = time.perf_counter() - began
    state = StudyState(replay_settings())
    before, started, count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), 0
    for entry in read_journal(run_dir):
        state.handle(entry.event, entry.at_s)
        count += 1
    seconds = time.perf_counter() - started
    assert state.reception_over, (state.reason, state.ledger.num_complete)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        json.dumps(
            {
                "rate": count / seconds,
                "append_rate": count / written,
                "rss": 1024.0 * after,
                "grown": 1024.0 * (after - before),
                "events": float(count),
            }
        )
    )


def again(run_dir: Path, *more: str) -> None:
    """Replay the journal of a study that has completed, as a launcher that resumes it; prints what it measured."""
    started, began_at = time.perf_counter(), time.process_time()
    replayed = replay_study(run_dir)
    seconds, busy_s = time.perf_counter() - started, time.process_time() - began_at
    assert replayed is not None
    assert replayed.state.outcome == "completed", replayed.state.reason
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins with that of whoever started this
    peak = 1024.0 * float(status.partition("VmHWM:")[2].split()[0])
    pauses_s = []
    for _ in range(PAUSES):
        started = time.perf_counter()
        content = SnapshotContent(replayed.state, run_dir, launches_of(replayed), 0)
        pauses_s.append(time.perf_counter() - started)
    sys.stdout.write(
        json.dumps(
            {
                "replay_s": seconds,
                "replay_busy_s": busy_s,
                "replay_events": replayed.num_events,
                "replay_rss": peak,
                "pause_s": sorted(pauses_s)[PAUSES // 2],
                "longest_pause_s": max(pauses_s),
                "snapshot_bytes": sum(len(piece) for piece in content.pieces()),
            }
        )
    )


def launches_of(replayed: Replayed) -> Launches:
    """Of a study that is not gone on with."""
    return Launches(first=replayed.first, num_resumes=replayed.num_resumes, seconds=0.0, began_at_s=0.0, last_at_s=0.0)


def replay_settings() -> StudySettings:
    """Of the study whose events are replayed."""
    welcome = say.Welcome(
        server_endpoints=(),
        server_incarnation=0,
        launcher_incarnation=1,
        routing=0,
        layout_id=0,
        fields=(),
        parameters=("a",),
        num_steps=STEPS_PER_SIMULATION,
        budget_bytes=1,
        heartbeat_s=1.0,
        orphan_timeout_s=300.0,
    )
    num_simulations = NUM_EVENTS // (STEPS_PER_SIMULATION + 2)
    return StudySettings(welcome=welcome, num_simulations=num_simulations, max_jobs=NUM_JOBS)


def _alone(role: str, *more: object, timeout_s: float = 200.0) -> Counter[str]:
    """Run a role in a process of its own and return what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.control_plane", role, str(Path(folder) / "study")]
        command += map(str, more)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"the benchmark's process {role} failed:\n{done.stderr[-3000:]}")
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def _row(case: str, values: list[float], scale: float, unit: str, target: str) -> Row:
    return Row({"case": case, "median (spread)": shown(values, scale), "unit": unit, "target": target})


def _million() -> list[Row]:
    """10^6 simulations against 100, one run each."""
    few = _alone("launcher", 100, MANY_CLIENTS)
    many = _alone("launcher", MANY_SIMULATIONS, MANY_CLIENTS, timeout_s=1500.0)
    later = many["first_assignment_s"] - few["first_assignment_s"]
    return [
        _row("10^6 simulations of 5 parameters: memory at the start", [many["rss_at_start"]], 1e6, "MB", "180"),
        _row("  memory when all have completed", [many["rss_at_end"]], 1e6, "MB", "250"),
        _row("  peak memory", [many["rss"]], 1e6, "MB", ""),
        _row("  memory of a study of 100", [few["rss_at_end"]], 1e6, "MB", ""),
        _row("  first assignment later than in a study of 100", [later], 1, "s", "1"),
        _row("  rate", [many["rate"]], 1, "simulations/s", ""),
        _row("  a resume reads the snapshot and replays the rest", [many["replay_s"]], 1, "s", "10"),
        _row("    by its processor time", [many["replay_busy_s"]], 1, "s", ""),
        _row("    events replayed", [many["replay_events"]], 1, "", ""),
        _row("    without the snapshot", [many["whole_s"]], 1, "s", ""),
        _row("    by its processor time", [many["whole_busy_s"]], 1, "s", ""),
        _row("  the loop's pause for a snapshot", [many["pause_s"]], 1e-3, "ms", "50"),
        _row("    the longest", [many["longest_pause_s"]], 1e-3, "ms", ""),
        _row("  size of a snapshot", [many["snapshot_bytes"]], 1e6, "MB", ""),
        _row("  peak memory of the replay", [many["replay_rss"]], 1e6, "MB", "250"),
    ]


def main() -> None:
    """All cases, each in processes of its own, round after round."""
    roles = ("inline", "launcher", "replay")
    found: dict[str, list[Counter[str]]] = {role: [] for role in roles}
    for _ in range(ROUNDS):
        for role in roles:
            found[role].append(_alone(role))
    sockets, replays = found["launcher"], found["replay"]
    rows = [
        _row("inline executor, one number", [f["rate"] for f in found["inline"]], 1, "simulations/s", "1000"),
        _row(f"sockets, {NUM_CLIENTS} fake clients", [f["rate"] for f in sockets], 1, "simulations/s", "300"),
        _row("  by the launcher's processor time", [f["launcher_rate"] for f in sockets], 1, "simulations/s", ""),
        _row("  the launcher's peak memory", [f["rss"] for f in sockets], 1e6, "MB", "200"),
        _row("events journaled, a sync for each 50", [f["append_rate"] for f in replays], 1, "events/s", "5000"),
        _row("10^6 events replayed", [NUM_EVENTS / f["rate"] for f in replays], 1, "s", "10"),
        _row("  peak memory", [f["rss"] for f in replays], 1e6, "MB", "200"),
        *_million(),
    ]
    print_rows(f"control plane, {NUM_SIMULATIONS} simulations", rows)


_ROLES: dict[str, Callable[..., None]] = {
    "launcher": launcher,
    "crowd": crowd,
    "inline": inline,
    "replay": replay,
    "again": again,
}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
