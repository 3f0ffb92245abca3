"""Rows 1 to 3: two producer processes into one server rank's buffer, against raw pyzmq with the same frames.

Ours is everything: the client's stream (header, conversion, byte budget), the receiving thread, validation, assembly,
deduplication, commit into a reservoir, and the reporter that tells a launcher. The peer sends a header and a payload of
the same sizes with `copy=False` and receives them into a preallocated array, over TCP, or over ipc where ours shares
memory. Both run on all that the machine has.
"""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import zmq

from melissa_like.assembly import Assembler
from melissa_like.buffer import SampleBuffer, fifo
from melissa_like.client import Part
from melissa_like.client.streaming import PartStream
from melissa_like.client.team import SoloTeam
from melissa_like.protocol.control import Assignment, ServerHello, Welcome, WireField
from melissa_like.records import FieldSpec, Layout, Purpose, Routing, SampleKey, StudyIdentity
from melissa_like.server.receiver import Receiver
from melissa_like.server.reporter import Orders, Reporter
from melissa_like.transport.memory import MemoryTransport
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks.measure import Row, interleave, memcpy_rate, print_rows, ratio, shown

IDENTITY = StudyIdentity(study=b"b" * 16, secret=b"s" * 16)
NUM_PRODUCERS = 2
ROUNDS = 5
DEADLINE_S = 60.0
BUDGET_BYTES = 64 * 2**20
#: How the two producers split a field: name -> (number of ranks, box of a rank).
SPLITS = ("whole", "rows", "columns", "blocks")


def layout_of(nbytes: int) -> Layout:
    """One float32 field of so many bytes, as square as it gets."""
    rows = 2 ** ((nbytes // 4).bit_length() // 2)
    return Layout(fields=(FieldSpec(name="u", shape=(rows, nbytes // 4 // rows)),), parameters=("a",))


def volume(nbytes: int) -> int:
    """Samples per run: enough for a second or so, and no more memory than a gigabyte."""
    return max(32, min(40_000, 2**30 // nbytes)) // 4 * 4


def parts_of(split: str, rank: int, shape: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Offset and shape of the boxes that one of two producers sends of a sample."""
    rows, columns = shape
    if split == "rows":
        return [((rank * rows // 2, 0), (rows // 2, columns))]
    if split == "columns":
        return [((0, rank * columns // 2), (rows, columns // 2))]
    if split == "blocks":  # two blocks each, on the diagonal and beside it
        return [((i * rows // 2, (i ^ rank) * columns // 2), (rows // 2, columns // 2)) for i in range(2)]
    return [((0, 0), (rows, columns))]


def produce(endpoint: str, nbytes: int, rank: int, split: str) -> None:
    """One producer: with `whole` it sends half of the samples, otherwise its part of each."""
    layout = layout_of(nbytes)
    shared = split != "whole"
    welcome = Welcome(
        server_endpoints=(endpoint,),
        server_incarnation=1,
        launcher_incarnation=1,
        routing=int(Routing.SAMPLE),
        layout_id=layout.layout_id,
        fields=tuple(WireField(name=f.name, shape=f.shape, dtype=f.dtype) for f in layout.fields),
        parameters=layout.parameters,
        num_steps=None,
        budget_bytes=BUDGET_BYTES,
        heartbeat_s=DEADLINE_S,
    )
    assignment = Assignment(
        simulation=0 if shared else rank,
        attempt=1,
        purpose=int(Purpose.TRAINING),
        parameters=(1.0,),
        delivered_steps=(),
    )
    with closing(ZmqTransport()) as transport:
        sender = transport.part_sender([endpoint], budget_bytes=BUDGET_BYTES)
        team = SoloTeam()
        team.size = NUM_PRODUCERS if shared else 1
        stream = PartStream(
            welcome=welcome,
            layout=layout,
            assignment=assignment,
            identity=IDENTITY,
            sender=sender,
            team=team,
            ask=lambda destination: sys.exit("the receiver does not read"),
        )
        boxes = parts_of(split, rank, layout.fields[0].shape)
        arrays = [np.ones(shape, np.float32) for _, shape in boxes]
        sys.stdin.readline()
        num_samples = volume(nbytes) if shared else volume(nbytes) // NUM_PRODUCERS
        for step in range(num_samples):
            for (offset, _), array in zip(boxes, arrays, strict=True):
                stream.send(step, stream.prepare({"u": Part(array, offset)}), 0.0)
        sender.flush(DEADLINE_S)
        sender.close(DEADLINE_S)


def produce_raw(endpoint: str, nbytes: int, header_nbytes: int, count: int) -> None:
    """The peer's producer."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, max(2, BUDGET_BYTES // nbytes))
        socket.connect(endpoint)
        header, payload = b"h" * header_nbytes, np.ones(nbytes, np.uint8)
        sys.stdin.readline()
        for _ in range(count):
            socket.send(header, zmq.SNDMORE)
            socket.send(payload, copy=False)
        socket.close(linger=int(1000 * DEADLINE_S))


@contextmanager
def producers(*arguments: object) -> Iterator[list["subprocess.Popen[str]"]]:
    """Both producers, waiting for a line to start; ended with the benchmark."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest"]
    started = [
        subprocess.Popen(
            [*command, *(str(a).replace("RANK", str(rank)) for a in arguments)],
            stdin=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(NUM_PRODUCERS)
    ]
    try:
        yield started
        for process in started:
            if process.wait(DEADLINE_S):
                raise RuntimeError("a producer failed")
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def start(started: list["subprocess.Popen[str]"]) -> None:
    """Let all producers go."""
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def ours(nbytes: int, buffer: SampleBuffer, split: str, *, shares_memory: bool) -> float:
    """Bytes per second into the buffer."""
    layout = layout_of(nbytes)
    errors: list[BaseException] = []
    memory = MemoryTransport()
    launcher = memory.control_server()
    with closing(ZmqTransport(shares_memory=shares_memory)) as transport:
        parts = transport.part_receiver(queue_length=16)
        receiver = Receiver(
            socket=parts,
            assembler=Assembler(
                layout=layout,
                identity=IDENTITY,
                server_rank=0,
                num_server_ranks=1,
                routing=Routing.SAMPLE,
                reserve=lambda purpose: buffer.reserve(),
                abandon=lambda purpose, reservation: buffer.abandon(reservation),
            ),
            sinks={Purpose.TRAINING: buffer},
            tell=lambda news: reporter.tell(news),
            on_error=errors.append,
        )
        reporter = Reporter(
            socket=memory.control_client(launcher.endpoint, b"server-0"),
            identity=IDENTITY,
            hello=ServerHello(rank=0, endpoint=parts.endpoint, host="", pid=0, device="cpu"),
            orders=Orders(simulation_over=lambda s, n: None, reception_over=lambda: None, stop=lambda r: None),
            measure=dict,
            put_waits=lambda: receiver.put_waits,
            sinks=(),
            interval_s=1.0,
            on_error=errors.append,
        )
        receiver.start()
        reporter.start()
        expected = buffer.population().puts + volume(nbytes)
        with producers("ours", parts.endpoint, nbytes, "RANK", split) as started:
            threading.Event().wait(1.0)  # imports and connections
            start(started)
            deadline = time.monotonic() + DEADLINE_S
            while buffer.population().puts < expected and time.monotonic() < deadline and not errors:
                time.sleep(0.005)
        receiver.close(DEADLINE_S)
        reporter.close(DEADLINE_S)
        if errors or buffer.population().puts < expected:
            raise RuntimeError(f"{errors}, {receiver.refused}")
        assert receiver.first_at is not None
        assert receiver.last_at is not None
        return volume(nbytes) * nbytes / (receiver.last_at - receiver.first_at)


def raw(nbytes: int, memory: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]", address: str) -> float:
    """Bytes per second into a preallocated array."""
    count = volume(nbytes) // NUM_PRODUCERS
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.RCVHWM, 16)
        socket.bind(address)
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        with producers("raw", endpoint, nbytes, 128, count) as started:
            threading.Event().wait(1.0)
            start(started)
            begun = 0.0
            for number in range(NUM_PRODUCERS * count):
                socket.recv()
                begun = begun or time.monotonic()
                socket.recv_into(memory[number])
            elapsed = time.monotonic() - begun
        return NUM_PRODUCERS * count * nbytes / elapsed


def compare(sizes: tuple[int, ...], splits: tuple[str, ...], title: str, *, shares_memory: bool) -> None:
    """One table: ours, the peer, their ratio; with shared memory also memcpy."""
    rows = []
    address = "ipc://*" if shares_memory else "tcp://127.0.0.1:*"
    for nbytes in sizes:
        memory = np.ones((volume(nbytes), nbytes), np.uint8)  # touched: page faults are not the wire

        def run(split: str, nbytes: int = nbytes) -> float:
            gc.collect()  # the last round's buffer, a gigabyte in a cycle of references
            # A fresh buffer that holds all samples, its memory touched before, so that nothing waits and pages exist.
            buffer = fifo(layout_of(nbytes), volume(nbytes), spare_slots=8)
            touch(buffer, layout_of(nbytes), volume(nbytes))
            return ours(nbytes, buffer, split, shares_memory=shares_memory)

        contestants = {split: (lambda split=split: run(split)) for split in splits}
        contestants["raw"] = lambda m=memory, n=nbytes: raw(n, m, address)
        if shares_memory:
            contestants["memcpy"] = lambda n=nbytes: memcpy_rate(n, out_of_nbytes=volume(n) * n)
        rates = interleave(contestants, ROUNDS)
        for split in splits:
            cells = {
                "part": f"{nbytes // 1024} KiB" if split == "whole" else f"half of {nbytes // 1024} KiB, {split}",
                "ours MiB/s": shown(rates[split], 2**20),
                "raw pyzmq MiB/s": shown(rates["raw"], 2**20),
                "ours / raw": ratio(rates, split, "raw"),
            }
            if shares_memory:
                cells["ours / memcpy"] = ratio(rates, split, "memcpy")
            if len(splits) > 1:
                cells["ours / whole"] = ratio(rates, split, "whole")
            rows.append(Row(cells))
    print_rows(title, rows)


def touch(buffer: SampleBuffer, layout: Layout, num_samples: int) -> None:
    """Write every slot once, and empty the buffer again."""
    values = [np.zeros(field.shape, np.float32) for field in layout.fields]
    for number in range(num_samples):
        buffer.put(SampleKey(number, 0), values, time=0.0, parameters=np.zeros(1), timeout_s=DEADLINE_S)
    for _ in range(num_samples):
        buffer.settle(buffer.draw(1))


def main() -> None:
    """All three tables."""
    sizes = (4096, 2**16, 2**20, 2**24)
    compare(sizes, ("whole",), "two producers into one server rank's buffer, TCP", shares_memory=False)
    compare(sizes[1:], ("whole",), "the same through shared memory, raw pyzmq over ipc", shares_memory=True)
    compare((2**20,), SPLITS, "two client ranks, one field split between them, TCP", shares_memory=False)


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        produce(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    else:
        produce_raw(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
