"""What honest clients keep of their rate while another process floods the study with frames that are not of it.

The flood comes from within, over a connection that is let in, as fast as one process can send: each of its messages is
received, decoded and refused. It takes its share of the machine's cores too, so the rate is also shown beside a process
that only computes.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr
from io import StringIO
from random import Random

import zmq

from melissa_like.assembly import Assembler
from melissa_like.buffer import fifo
from melissa_like.launcher.peers import Peers
from melissa_like.protocol.control import Acknowledge
from melissa_like.protocol.link import Link
from melissa_like.records import Purpose, Routing
from melissa_like.server.receiver import Receiver
from melissa_like.transport.shared_memory import split_endpoint
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks.ingest import touch
from tests.benchmarks.measure import Row, interleave, print_rows, ratio, shown
from tests.benchmarks.producers import DEADLINE_S, IDENTITY, layout_of, producers, start, volume
from tests.plugins.flood import foreign_messages, foreign_parts, goodbye_of, part_of

ROUNDS = 3
_POOL = 2000
_ROUND_TRIPS_S = 3.0


@contextmanager
def beside(what: str, endpoint: str) -> Iterator[None]:
    """While another process does something; nothing with `nobody`."""
    if what == "nobody":
        yield
        return
    command = [sys.executable, "-m", "tests.benchmarks.flood", what, endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def ingest(what: str, nbytes: int) -> float:
    """Bytes per second of two producers into one server rank's buffer."""
    layout = layout_of(nbytes)
    buffer = fifo(layout, volume(nbytes), spare_slots=8)
    touch(buffer, layout, volume(nbytes))
    errors: list[BaseException] = []
    with ExitStack() as stack:
        transport = stack.enter_context(closing(ZmqTransport(shares_memory=False)))
        parts = transport.part_receiver(queue_length=8, max_nbytes=nbytes)
        receiver = Receiver(
            socket=parts,
            assembler=Assembler(
                layout=layout,
                identity=IDENTITY,
                server_rank=0,
                num_server_ranks=1,
                routing=Routing.SAMPLE,
                consumers={Purpose.TRAINING: buffer},
            ),
            consumers={Purpose.TRAINING: buffer},
            tell=lambda news: None,
            on_error=errors.append,
        )
        stack.enter_context(redirect_stderr(StringIO()))  # the first refusal of each reason
        receiver.start()
        expected = buffer.population().puts + volume(nbytes)
        with producers("ours", parts.endpoint, nbytes, "whole") as started, beside(what, parts.endpoint):
            started_at = time.monotonic()
            start(started)
            while buffer.population().puts < expected and time.monotonic() < started_at + DEADLINE_S and not errors:
                time.sleep(0.005)
            elapsed = time.monotonic() - started_at
        refused = sum(receiver.refused.values())
        receiver.close(DEADLINE_S)
    if errors or buffer.population().puts < expected or (what == "parts" and not refused):
        raise RuntimeError(f"{errors}, {buffer.population()}, {refused} refused")
    return volume(nbytes) * nbytes / elapsed


def round_trips(what: str) -> float:
    """Messages per second that a process says to a launcher's loop and has acknowledged, one after another."""
    over = threading.Event()

    def serve(peers: Peers) -> None:
        while not over.is_set():
            while peers.receive(0.01) is not None:
                peers.acknowledge()

    with ExitStack() as stack:
        transport = stack.enter_context(closing(ZmqTransport()))
        server = transport.control_server()
        peers = Peers(server, IDENTITY)
        thread = threading.Thread(target=serve, args=(peers,))
        thread.start()
        command = [sys.executable, "-m", "tests.benchmarks.flood", "speaking", server.endpoint]
        with beside(what, server.endpoint):
            spoken = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_S)
        over.set()
        thread.join(DEADLINE_S)
        server.close(0.0)
    assert bool(peers.refused) == (what == "messages"), peers.refused
    return float(spoken.stdout)


def speak(endpoint: str) -> None:
    """Be an honest client for a while; prints how many round trips it had per second."""
    count = 0
    with closing(ZmqTransport()) as transport:
        client, link = transport.control_client(endpoint, b"job-0001/0"), Link(IDENTITY)
        deadline = time.monotonic() + _ROUND_TRIPS_S
        while time.monotonic() < deadline:
            client.send(link.post(Acknowledge(), time.monotonic()))
            while not link.settled:
                received = client.receive(DEADLINE_S)
                assert received is not None, "the launcher does not answer"
                link.receive(received)
            count += 1
        client.close(0.0)
    sys.stdout.write(f"{count / _ROUND_TRIPS_S}\n")


def flood(what: str, endpoint: str) -> None:
    """Send, or only compute, until killed."""
    rng, turn = Random(0), 0
    with zmq.Context() as context:
        if what == "parts":
            socket, source = context.socket(zmq.PUSH), foreign_parts(rng, part_of(IDENTITY))
        else:
            socket, source = context.socket(zmq.DEALER), foreign_messages(rng, goodbye_of(IDENTITY))
            socket.setsockopt(zmq.IDENTITY, b"flood/0")
        socket.connect(split_endpoint(endpoint)[0])
        pool = [next(source) for _ in range(_POOL)]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            if what == "computing":
                turn = (turn * 3 + 1) % 65_537
            else:
                socket.send_multipart(pool[turn % _POOL])
                turn += 1


def main() -> None:
    """Both tables in one."""
    rows = []
    for nbytes in (2**16, 2**20):
        rates = interleave({what: lambda w=what, n=nbytes: ingest(w, n) for what in _BESIDE["parts"]}, ROUNDS)  # type: ignore[misc]
        rows.append(_row(f"parts of {nbytes // 1024} KiB, MiB/s", rates, "parts", 2**20))
    rates = interleave({what: lambda w=what: round_trips(w) for what in _BESIDE["messages"]}, ROUNDS)  # type: ignore[misc]
    rows.append(_row("control messages, round trips/s", rates, "messages", 1.0))
    print_rows("honest clients beside a flood from within", rows)


_BESIDE = {kind: ("nobody", "computing", kind) for kind in ("parts", "messages")}


def _row(name: str, rates: dict[str, list[float]], kind: str, scale: float) -> Row:
    return Row(
        {
            "what": name,
            "alone": shown(rates["nobody"], scale),
            "beside one that computes": shown(rates["computing"], scale),
            "beside the flood": shown(rates[kind], scale),
            "flood / alone": ratio(rates, kind, "nobody"),
            "flood / computes": ratio(rates, kind, "computing"),
        }
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["speaking"]:
        speak(sys.argv[2])
    elif sys.argv[1:]:
        flood(*sys.argv[1:3])
    else:
        main()
