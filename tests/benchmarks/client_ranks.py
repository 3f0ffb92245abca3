"""Two thousand client ranks at once: from a burst of hellos until all are assigned, connections, memory on the server.

Launcher and server ranks are real processes. A third one plays all client ranks, each a job of its own, which is the
worst case for the launcher; each opens its connections as a client does and sends a few samples. Besides, what one
client rank can make a server rank hold that does not read, because its buffer is full.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import zmq
from omegaconf import DictConfig

from melissa_like.client.streaming import PartStream, layout_from
from melissa_like.client.team import SoloTeam
from melissa_like.launcher.executors import FoundJob, JobSpec, JobState, JobUpdate, LocalExecutor, Role, Traits
from melissa_like.launcher.run import Launch, prepare
from melissa_like.protocol import control as say
from melissa_like.protocol import read_connection
from melissa_like.protocol.link import Link
from melissa_like.server.reception import queue_length
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from melissa_like.transport import PartSender
from melissa_like.transport.open_files import raise_open_file_limit
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks import control_plane
from tests.benchmarks.control_plane import Peer, resident_bytes
from tests.benchmarks.measure import Row, print_rows, shown

NUM_CLIENTS = 2000
NUM_SERVER_RANKS = 2
NUM_STEPS = 4
ROUNDS = 3
CLIENTS_PER_CONTEXT = 300  # a context of ZeroMQ has a thousand sockets
PATIENCE_S = 120.0
SETTLED_BYTES = 100_000
WAITING_CLIENTS = 100
WAITING_BYTES = 2**16
WAITING_BUDGET_BYTES = 16 * 2**20
_JOBS_MAY_SPEAK, _CROWD_FILE = "jobs-may-speak", "crowd.json"


def sixteen_kibibytes(parameters: Mapping[str, float], comm: object) -> Iterator[tuple[int, dict[str, object]]]:
    """What the crowd plays."""
    for step in range(NUM_STEPS):
        yield step, {"u": np.full(4096, parameters["a"], np.float32)}


def composed(run_dir: Path, num_clients: int, num_server_ranks: int) -> DictConfig:
    """A study of one simulation per client rank."""
    return control_plane.composed(
        run_dir,
        "solver.solve._target_=tests.benchmarks.client_ranks.sixteen_kibibytes",
        "solver.fields.u={shape:[4096],bounds:[-1,1]}",
        f"solver.num_steps={NUM_STEPS}",
        f"study.num_simulations={num_clients}",
        f"launcher.max_jobs={num_clients}",
        f"launcher.num_server_ranks={num_server_ranks}",
        "launcher.max_server_restarts=0",
        "transport.shared_memory=false",
        "training.checkpoint.interval_s=null",
        "buffer.capacity=1024",
        "training.batch_size=64",
    )


class CrowdExecutor:
    """Starts server ranks as they are, and one process that plays every solver job."""

    traits = Traits()

    def __init__(self, on_change: Callable[[], None], run_dir: Path, num_clients: int) -> None:
        self._local = LocalExecutor(on_change=on_change)
        self._run_dir = run_dir
        self._num_clients = num_clients
        self._updates: list[JobUpdate] = []
        self._playing: list[str] = []
        self._crowd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._local.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._local.__exit__(*exc_info)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """The crowd is told when the first job may speak."""
        servers = [spec for spec in specs if spec.role is Role.SERVER]
        jobs = [spec.name for spec in specs if spec.role is Role.SOLVER]
        handles = dict(self._local.submit(servers, study)) if servers else {}
        if jobs and self._crowd is None:
            crowd = ["tests.benchmarks.client_ranks", "crowd", str(self._run_dir), str(self._num_clients)]
            self._crowd = subprocess.Popen([sys.executable, "-m", *crowd])
        self._playing += jobs
        self._updates += [JobUpdate(name=name, state=JobState.ACTIVE) for name in jobs]
        if len(self._playing) >= self._num_clients:
            (self._run_dir / _JOBS_MAY_SPEAK).touch()
        return {**handles, **{name: name for name in jobs}}

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """Nobody asks here."""
        return ()

    def poll(self) -> tuple[JobUpdate, ...]:
        """All jobs end with the crowd."""
        updates, self._updates = [*self._local.poll(), *self._updates], []
        if self._crowd is not None and self._crowd.poll() is not None:
            state = JobState.FAILED if self._crowd.returncode else JobState.COMPLETED
            updates += [JobUpdate(name=name, state=state, exit_code=self._crowd.returncode) for name in self._playing]
            self._playing = []
        return tuple(updates)

    def cancel(self, handle: str) -> None:
        """Of server ranks only; the crowd ends by itself."""
        if handle not in self._playing:
            self._local.cancel(handle)

    def close(self, timeout_s: float) -> None:
        """End the server ranks, then the crowd."""
        self._local.close(timeout_s)
        if self._crowd is not None and self._crowd.poll() is None:
            self._crowd.kill()
            self._crowd.wait(timeout_s)


def launcher(run_dir: Path, num_clients: str, num_server_ranks: str) -> None:
    """The launcher; prints what it and the crowd have measured."""
    config, samplers = prepare(study := composed(run_dir, int(num_clients), int(num_server_ranks)))
    began_s = time.process_time()
    with Launch(
        config=config,
        samplers=samplers,
        composed=study,
        run_dir=run_dir,
        executor=lambda on_change: CrowdExecutor(on_change, run_dir, int(num_clients)),
    ) as launch:
        launch.run()
        report = launch.report()
    assert report["outcome"] == "completed", report
    assert report["samples"]["lost"] == 0, report
    found = json.loads((run_dir / _CROWD_FILE).read_text())
    found["launcher_cpu_s"] = time.process_time() - began_s
    found["launcher_rss"] = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps(found) + "\n")


# -- the crowd --------------------------------------------------------------------------------------------------------


class Server:
    """A server rank seen from outside."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._sockets_at_start = self._num_sockets()
        self._rss_at_start = self.rss()

    def rss(self) -> float:
        """Bytes of memory."""
        return float(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def grown(self) -> float:
        """Bytes of memory since this was made."""
        return self.rss() - self._rss_at_start

    def connections(self) -> int:
        """Connections since this was made."""
        return self._num_sockets() - self._sockets_at_start

    def _num_sockets(self) -> int:
        folder = f"/proc/{self._pid}/fd"
        return sum(_link(f"{folder}/{name}").startswith("socket:") for name in os.listdir(folder))


def settled(pid: int) -> Server:
    """A server rank that has made whatever it needs to train."""
    while True:
        server = Server(pid)
        time.sleep(2.0)
        if abs(server.grown()) < SETTLED_BYTES:
            return server


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


class Rank:
    """One fake client rank."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.welcome: say.Welcome | None = None
        self.assignment: say.Assignment | None = None
        self.sender: PartSender | None = None
        self.is_over = False
        self.num_heard = self.num_said = 0

    def say(self, *messages: say.ControlMessage) -> None:
        """Numbered, as a client does."""
        self.num_said += len(messages)
        self.peer.post(*messages)

    def heed(self, transport: ZmqTransport) -> None:
        """What the launcher has said."""
        for message in self.peer.hear():
            self.num_heard += 1
            if isinstance(message, say.Welcome):
                self.welcome = message
                self.sender = transport.part_sender(message.server_endpoints, budget_bytes=message.budget_bytes)
                self.say(say.Request())
            elif isinstance(message, say.Assignment):
                self.assignment = message
            elif isinstance(message, say.Finish | say.Stop):
                self.is_over = True
            elif isinstance(message, say.Refused):
                raise RuntimeError(message.reason)
        self.peer.acknowledge()

    def run(self, identity: Callable[[int], object]) -> None:
        """Its simulation."""
        assert self.welcome is not None
        assert self.assignment is not None
        assert self.sender is not None
        stream = PartStream(
            welcome=self.welcome,
            layout=layout_from(self.welcome),
            assignment=self.assignment,
            identity=identity(self.welcome.server_incarnation),  # type: ignore[arg-type]
            sender=self.sender,
            team=SoloTeam(),
            ask=lambda destination: None,
        )
        fields = {"u": np.full(4096, 0.5, np.float32)}
        for step in range(NUM_STEPS):
            stream.send(step, stream.prepare(fields), float(step))
        stream.close()
        mine = {"simulation": self.assignment.simulation, "attempt": self.assignment.attempt}
        self.say(say.Goodbye(num_steps=NUM_STEPS, parts_sent=tuple(stream.parts_sent), **mine), say.Request())


def crowd(run_dir: Path, num_clients: str) -> None:
    """All client ranks, from their hellos to their ends; leaves what it measured in a file."""
    raise_open_file_limit()
    number = int(num_clients)
    connection = read_connection(run_dir)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, number + 100)
    context.set(zmq.IO_THREADS, 1)
    poller = zmq.Poller()
    with ExitStack() as stack:
        transports = [
            stack.enter_context(closing(ZmqTransport(shares_memory=False, credentials=connection.credentials)))
            for _ in range(-(-number // CLIENTS_PER_CONTEXT))
        ]
        ranks = {}
        for index in range(number):
            name = f"job-{index + 1:04d}/0"
            peer = Peer(context, connection.endpoint, Link(connection.identity()), name, connection.credentials)
            poller.register(peer.socket, zmq.POLLIN)
            ranks[peer.socket] = Rank(peer), transports[index // CLIENTS_PER_CONTEXT]
        everybody = [rank for rank, _ in ranks.values()]

        def until(what: Callable[[], bool]) -> float:
            began = time.monotonic()
            while not what():
                if time.monotonic() - began > PATIENCE_S:
                    raise RuntimeError(f"{what} was not so after {PATIENCE_S:g} s")
                for socket, _ in poller.poll(20):
                    rank, transport = ranks[socket]
                    rank.heed(transport)
            return time.monotonic() - began

        until((run_dir / _JOBS_MAY_SPEAK).exists)
        told = [e.event.message for e in read_journal(run_dir) if isinstance(e.event, ev.Said)]
        servers = [settled(message.pid) for message in told if isinstance(message, say.ServerHello)]
        began = time.monotonic()
        for rank in everybody:
            rank.say(say.Hello(num_ranks=1, host="here", pid=1))
        welcomed_s = until(lambda: all(rank.welcome is not None for rank in everybody))
        until(lambda: all(rank.assignment is not None for rank in everybody))
        assigned_s = time.monotonic() - began
        until(lambda: all(server.connections() >= number for server in servers))
        connected_s = time.monotonic() - began
        connections = min(server.connections() for server in servers)
        connected = [server.grown() / number for server in servers]
        for rank in everybody:
            rank.run(connection.identity)
        until(lambda: all(rank.is_over for rank in everybody))
        over_s = time.monotonic() - began
        used = [server.grown() / number for server in servers]
        for rank in everybody:
            assert rank.sender is not None
            rank.sender.close(1.0)
        context.destroy(linger=1000)
    found = {
        "welcomed_s": welcomed_s,
        "assigned_s": assigned_s,
        "connected_s": connected_s,
        "over_s": over_s,
        "connections": connections,
        "rss_connected": max(connected),
        "rss_used": max(used),
        "said": sum(rank.num_said for rank in everybody) / number,
        "heard": sum(rank.num_heard for rank in everybody) / number,
    }
    (run_dir / _CROWD_FILE).write_text(json.dumps(found))


# -- a server rank that does not read ---------------------------------------------------------------------------------


def idle(folder: Path, length: str) -> None:
    """A receiver that takes nothing: prints its endpoint, and at each line of its input its memory."""
    with closing(ZmqTransport(shares_memory=False)) as transport:
        parts = transport.part_receiver(queue_length=int(length), max_nbytes=WAITING_BYTES)
        sys.stdout.write(f"{parts.endpoint}\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            sys.stdout.write(f"{resident_bytes()}\n")
            sys.stdout.flush()
        parts.close()


@contextmanager
def _idle(length: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.benchmarks.client_ranks", "idle", ".", str(length)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()


def held_bytes(length: int) -> float:
    """Bytes per client rank that a server rank holds whose queue has this length, and that does not read."""

    def ask(started: "subprocess.Popen[str]") -> float:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.write("?\n")
        started.stdin.flush()
        return float(started.stdout.readline())

    payload = bytes(WAITING_BYTES)
    with _idle(length) as started, closing(ZmqTransport(shares_memory=False)) as transport:
        assert started.stdout is not None
        endpoint = started.stdout.readline().strip()
        before = ask(started)
        senders = [transport.part_sender([endpoint], budget_bytes=WAITING_BUDGET_BYTES) for _ in range(WAITING_CLIENTS)]
        for sender in senders:
            while sender.send(0, b"h", len(payload), lambda memory: memory.__setitem__(slice(None), payload), 0.0):
                pass
        after = before
        while (now := ask(started)) > after + WAITING_BYTES:  # until no more comes
            after = now
            time.sleep(0.5)
        for sender in senders:
            sender.close(0.0)
    return (now - before) / WAITING_CLIENTS


# -- all --------------------------------------------------------------------------------------------------------------


def _alone(num_clients: int, num_server_ranks: int) -> Counter[str]:
    """One study, in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.client_ranks", "launcher", str(Path(folder) / "study")]
        command += [str(num_clients), str(num_server_ranks)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300.0, check=False)
    if done.returncode:
        raise RuntimeError(f"the study failed:\n{done.stderr[-3000:]}")
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """All cases."""
    load = os.getloadavg()[0]
    found = [_alone(NUM_CLIENTS, NUM_SERVER_RANKS) for _ in range(ROUNDS)]

    def row(case: str, key: str, scale: float, unit: str) -> Row:
        return Row({"case": case, "median (spread)": shown([one[key] for one in found], scale), "unit": unit})

    length = queue_length(NUM_CLIENTS, 1, WAITING_BYTES)
    rows = [
        row("burst of hellos → all welcomed", "welcomed_s", 1, "s"),
        row("  → all assigned", "assigned_s", 1, "s"),
        row("  → all connected to all server ranks", "connected_s", 1, "s"),
        row("  → all have ended", "over_s", 1, "s"),
        row("connections of a server rank", "connections", 1, ""),
        row("memory per client rank on a server rank, connected", "rss_connected", 1024, "KiB"),
        row("  after its samples", "rss_used", 1024, "KiB"),
        row("control messages that a client rank says", "said", 1, ""),
        row("  and hears", "heard", 1, ""),
        row("the launcher's processor time", "launcher_cpu_s", 1, "s"),
        row("  peak memory", "launcher_rss", 1e6, "MB"),
        *(
            Row(
                {
                    "case": f"a server rank that does not read, queue of {number}: per client rank",
                    "median (spread)": shown([held_bytes(number)], 1024),
                    "unit": "KiB",
                }
            )
            for number in sorted({8, length}, reverse=True)
        ),
    ]
    print_rows(f"{NUM_CLIENTS} client ranks, {NUM_SERVER_RANKS} server ranks; load {load:.1f}", rows)


_ROLES: dict[str, Callable[..., None]] = {"launcher": launcher, "crowd": crowd, "idle": idle}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
