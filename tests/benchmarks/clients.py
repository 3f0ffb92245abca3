"""The producers of `ingest` that are whole clients, in Python and in C, and the launcher that lets them begin."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from melissa_like.client import Client
from melissa_like.client.environment import JOB_VARIABLE, RUN_DIR_VARIABLE
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.study_keys import StudyKeys
from melissa_like.protocol import Connection, write_connection
from melissa_like.protocol.control import Assignment, Finish, Hello, Request
from melissa_like.records import ClientRank, Purpose
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks.producers import DEADLINE_S, IDENTITY, NUM_PRODUCERS, layout_of, volume, waiting, welcome_of

__all__ = ["KEYS", "build", "clients"]

ROOT = Path(__file__).parents[2]
KEYS = StudyKeys(study=IDENTITY.study, secret=IDENTITY.secret, pairs={}, encryption="none")


def build(folder: Path) -> Path:
    """Compile the producer in C.

    Raises:
        FileNotFoundError: there is no gcc.
        subprocess.CalledProcessError: it, or libzmq, lacks something.
    """
    program = folder / "producer"
    native = ROOT / "melissa_like" / "client" / "native"
    sources = [ROOT / "tests" / "benchmarks" / "producer.c", native / "melissa_like.c"]
    subprocess.run(["gcc", "-O2", f"-I{native}", *sources, "-o", program, "-lzmq", "-lm"], check=True)
    return program


@contextmanager
def clients(endpoint: str, nbytes: int, program: Path | None) -> Iterator[list["subprocess.Popen[str]"]]:
    """Two jobs of one rank, welcomed and waiting for a line; they have sent everything when the context ends.

    Args:
        endpoint: of the server rank.
        nbytes: of a sample; each sends half of them.
        program: the producer in C; None: the one in Python.
    """
    layout = layout_of(nbytes)
    size = [*map(str, layout.fields[0].shape), str(volume(nbytes) // NUM_PRODUCERS)]
    command = [sys.executable, "-m", "tests.benchmarks.clients", *size] if program is None else [str(program), *size]
    with tempfile.TemporaryDirectory() as folder, _launcher(Path(folder), endpoint, nbytes):
        jobs = [{RUN_DIR_VARIABLE: folder, JOB_VARIABLE: f"job-{number}"} for number in range(NUM_PRODUCERS)]
        with waiting([command] * NUM_PRODUCERS, jobs) as started:
            yield started


@contextmanager
def _launcher(run_dir: Path, endpoint: str, nbytes: int) -> Iterator[None]:
    """Welcomes each job and assigns it the simulation of its number."""
    over = threading.Event()
    with closing(ZmqTransport(credentials=KEYS.credentials("launcher"))) as transport:
        socket = transport.control_server()
        connection = Connection(
            endpoint=socket.endpoint,
            server_endpoint=socket.server_endpoint,
            study=IDENTITY.study,
            secret=IDENTITY.secret,
            launcher_incarnation=IDENTITY.launcher_incarnation,
        )
        write_connection(run_dir, connection)

        def answer() -> None:
            peers = Peers(socket, IDENTITY)
            assigned = set()
            while not over.is_set():
                received = peers.receive(0.05)
                if received is not None:
                    peer, message = received
                    if isinstance(message, Hello):
                        peers.tell(peer, welcome_of(layout_of(nbytes), endpoint))
                    elif isinstance(message, Request) and peer not in assigned:
                        assert isinstance(peer, ClientRank)
                        assigned.add(peer)
                        peers.tell(peer, _assignment(int(peer.job.partition("-")[2])))
                    elif isinstance(message, Request):
                        peers.tell(peer, Finish(reason="no simulation is left"))
                peers.acknowledge()
                peers.repeat()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(DEADLINE_S)
            socket.close(0.0)


def _assignment(simulation: int) -> Assignment:
    return Assignment(
        simulation=simulation, attempt=1, purpose=int(Purpose.TRAINING), parameters=(1.0,), delivered_steps=()
    )


def main(rows: int, columns: int, num_samples: int) -> None:
    """The producer in Python: as the one in C."""
    values = np.ones((rows, columns), np.float32)
    with Client() as client:
        session = client.next_session()
        assert session is not None
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        began = time.process_time()
        for step in range(num_samples):
            session.send(step, {"u": values}, 0.0)
        session.close()
    sys.stdout.write(f"{time.process_time() - began:.9f}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
