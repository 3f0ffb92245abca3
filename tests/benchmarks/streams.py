"""What the training benchmarks share: a server rank's reception in this process, everything around it in others.

The launcher's end of the control connection and the paced producers are processes of their own, as in a study; so only
what a server rank does competes with the trainer for the interpreter lock.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from melissa_like.assembly import Consumer
from melissa_like.client.streaming import PartStream
from melissa_like.client.team import SoloTeam
from melissa_like.config import Config, layout_of, load_config
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.rundir import create_run_dir
from melissa_like.protocol import Connection, read_connection, write_connection
from melissa_like.protocol.control import Assignment, ServerHello
from melissa_like.records import Layout, Purpose, Sample, SampleKey, ServerRank, Window
from melissa_like.server.reception import Reception, place_of
from melissa_like.server.reporter import Orders
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks.producers import BUDGET_BYTES, welcome_of

ROOT = Path(__file__).parents[2]
STUDY_DEADLINE_S = 220.0


def composed(*overrides: str) -> Any:
    """The configuration of a study, as the command composes it."""
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        return compose("config", overrides=["run_dir=.", *overrides])


def run(run_dir: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    """`melissa-like run`, in a process of its own; its output goes into a file beside the run directory."""
    with run_dir.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "melissa_like.launcher", "run", f"run_dir={run_dir}", *overrides],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )


def report_of(*overrides: str) -> dict[str, Any]:
    """The report of a study."""
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        code = run(run_dir, *overrides).wait(STUDY_DEADLINE_S)
        return read_report(run_dir, code)


def read_report(run_dir: Path, code: int) -> dict[str, Any]:
    """What a study that has ended reported; its last words if it failed."""
    if code:
        raise RuntimeError(run_dir.with_suffix(".log").read_text()[-2000:])
    report: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    return report


class Discard:
    """A consumer: samples are assembled in the same memory again and again, and counted."""

    def __init__(self, layout: Layout) -> None:
        self._fields = tuple(np.empty(f.shape, f.numpy_dtype) for f in layout.fields)
        self.num_samples = 0

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """All have the same sizes."""

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        """The same memory for everybody."""
        return self._fields

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        """Count it."""
        self.num_samples += 1
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nobody waits here."""


@contextmanager
def process(role: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process of this module, told to end by the end of its input."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.streams", role, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@dataclass(frozen=True)
class Study:
    """A run directory, and a launcher that listens, acknowledges, and decides nothing."""

    run_dir: Path
    launcher: "subprocess.Popen[str]"

    def hear(self) -> str:
        """The launcher's next word: the endpoint of a server rank that said hello."""
        assert self.launcher.stdout is not None
        return self.launcher.stdout.readline().strip()


@contextmanager
def study(config: Any) -> Iterator[Study]:
    """Opened with its launcher."""
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        create_run_dir(config, run_dir)
        with process("launcher", run_dir) as launcher:
            opened = Study(run_dir, launcher)
            opened.hear()
            yield opened


@contextmanager
def reception(study: Study, consumer: Consumer, window: Window | None = None) -> Iterator[str]:
    """The receiving half of a server rank; the endpoint that producers send to."""
    errors: list[BaseException] = []
    place = place_of(load_config(study.run_dir), study.run_dir, ServerRank(0))
    with (
        closing(ZmqTransport()) as transport,
        Reception(
            # Producers begin one simulation after another for as long as is measured.
            replace(place, num_simulations=None, window=window),
            transport=transport,
            consumers={Purpose.TRAINING: consumer},
            orders=Orders(),
            on_error=errors.append,
        ) as opened,
    ):
        opened.say_hello()
        yield study.hear()
    if errors:
        raise errors[0]


@contextmanager
def producers(study: Study, endpoint: str, *, count: int, rate: float) -> Iterator[None]:
    """So many processes that stream the study's samples at so many per second each, until the end."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(process("produce", study.run_dir, endpoint, rank, count, rate)) for rank in range(count)
        ]
        for one in started:
            assert one.stdout is not None
            one.stdout.readline()
        yield


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def listen(run_dir: Path) -> None:
    """The launcher's end: acknowledges until it is killed."""
    with closing(ZmqTransport()) as transport:
        socket = transport.control_server()
        connection = Connection(
            endpoint=socket.endpoint,
            server_endpoint=socket.server_endpoint,
            study=b"b" * 16,
            secret=b"s" * 16,
            launcher_incarnation=1,
        )
        write_connection(run_dir, connection)
        _say("listening")
        peers = Peers(socket, connection.identity())
        while True:
            heard = peers.receive(0.25)
            if heard is not None and isinstance(heard[1], ServerHello):
                _say(heard[1].endpoint)
            peers.acknowledge()
            peers.repeat()


def some_fields(layout: Layout, seed: int) -> Mapping[str, np.ndarray]:
    """Values of one sample within the bounds of its fields."""
    generator = np.random.default_rng(seed)
    return {f.name: generator.uniform(*(f.bounds or (-1.0, 1.0)), f.shape) for f in layout.fields}


def produce(run_dir: Path, endpoint: str, rank: int, count: int, rate: float) -> None:
    """A client that computes nothing: steps of one simulation after another, evenly in time."""
    config = load_config(run_dir)
    layout, identity = layout_of(config.solver), read_connection(run_dir).identity()
    with closing(ZmqTransport()) as transport:
        sender = transport.part_sender([endpoint], budget_bytes=BUDGET_BYTES)
        _say("ready")
        fields, begun, sent, simulation = some_fields(layout, rank), time.monotonic(), 0, rank
        while True:
            stream = PartStream(
                welcome=welcome_of(layout, endpoint),
                layout=layout,
                assignment=Assignment(
                    simulation=simulation,
                    attempt=1,
                    purpose=int(Purpose.TRAINING),
                    parameters=(300.0,) * len(layout.parameters),
                    delivered_steps=(),
                ),
                identity=identity,
                sender=sender,
                team=SoloTeam(),
                ask=lambda destination: sys.exit("the receiver does not read"),
            )
            for step in range(config.solver.num_steps or 100):
                time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
                stream.send(step, stream.prepare(fields), float(step))
                sent += 1
            simulation += count


if __name__ == "__main__":
    if sys.argv[1] == "launcher":
        listen(Path(sys.argv[2]))
    else:
        produce(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
