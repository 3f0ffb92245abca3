"""The producer processes of `ingest`: ours and the peer's. They import what a solver does, so no torch."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np
import zmq

from melissa_like.client import Part
from melissa_like.client.streaming import PartStream
from melissa_like.client.team import SoloTeam
from melissa_like.config import TransportConfig
from melissa_like.protocol.control import Assignment, Welcome, WireField
from melissa_like.protocol.keys import Credentials
from melissa_like.records import FieldSpec, Layout, Purpose, Routing, StudyIdentity
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = [
    "BUDGET_BYTES",
    "DEADLINE_S",
    "IDENTITY",
    "NUM_PRODUCERS",
    "layout_of",
    "producers",
    "start",
    "volume",
    "waiting",
    "welcome_of",
]

IDENTITY = StudyIdentity(study=b"b" * 16, secret=b"s" * 16)
NUM_PRODUCERS = 2
DEADLINE_S = 60.0
BUDGET_BYTES = TransportConfig().budget_bytes


def layout_of(nbytes: int) -> Layout:
    """One float32 field of so many bytes, as square as it gets."""
    rows = 2 ** ((nbytes // 4).bit_length() // 2)
    return Layout(fields=(FieldSpec(name="u", shape=(rows, nbytes // 4 // rows)),), parameters=("a",))


def volume(nbytes: int) -> int:
    """Samples per run: enough for a second or so, and no more memory than a gigabyte."""
    return max(32, min(80_000, 2**30 // nbytes)) // 4 * 4


def welcome_of(layout: Layout, endpoint: str) -> Welcome:
    """What the launcher of a study with one server rank would say."""
    return Welcome(
        server_endpoints=(endpoint,),
        server_incarnation=1,
        launcher_incarnation=1,
        routing=int(Routing.SAMPLE),
        layout_id=layout.layout_id,
        fields=tuple(
            WireField(name=f.name, shape=f.shape, dtype=f.dtype, components=f.components) for f in layout.fields
        ),
        parameters=layout.parameters,
        num_steps=None,
        budget_bytes=BUDGET_BYTES,
        heartbeat_s=DEADLINE_S,
        orphan_timeout_s=300.0,
    )


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


@contextmanager
def producers(role: str, *arguments: object) -> Iterator[list["subprocess.Popen[str]"]]:
    """Both producers, connected and waiting for `start`; they have sent everything when the context ends."""
    program = [sys.executable, "-m", "tests.benchmarks.producers", role]
    with waiting([[*program, str(rank), *map(str, arguments)] for rank in range(NUM_PRODUCERS)]) as started:
        yield started


@contextmanager
def waiting(
    commands: Sequence[Sequence[str]], variables: Sequence[Mapping[str, str]] = ({},) * NUM_PRODUCERS
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that have said a line and wait for `start`; they end by themselves when the context ends.

    Args:
        commands: of each.
        variables: that each has in its environment besides.
    """
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **more},
        )
        for command, more in zip(commands, variables, strict=True)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield started
        for process in started:
            if process.wait(DEADLINE_S):
                raise RuntimeError("a producer failed")
    finally:
        for process in started:
            process.kill()
            process.wait()


def start(started: list["subprocess.Popen[str]"]) -> None:
    """Let all producers go."""
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def _wait_for_start() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def produce(rank: int, endpoint: str, nbytes: int, split: str, credentials: str = "null") -> None:
    """One producer: with `whole` it sends half of the samples, otherwise its part of each.

    Args:
        rank: of the producer.
        endpoint: of the server rank.
        nbytes: of a sample.
        split: see above.
        credentials: to be shown, as JSON; of a benchmark they need not be secret.
    """
    layout = layout_of(nbytes)
    shared = split != "whole"
    assignment = Assignment(
        simulation=0 if shared else rank,
        attempt=1,
        purpose=int(Purpose.TRAINING),
        parameters=(1.0,),
        delivered_steps=(),
    )
    shown = msgspec.json.decode(credentials, type=Credentials | None)
    with closing(ZmqTransport(credentials=shown)) as transport:
        sender = transport.part_sender([endpoint], budget_bytes=BUDGET_BYTES)
        team = SoloTeam()
        team.size = NUM_PRODUCERS if shared else 1
        stream = PartStream(
            welcome=welcome_of(layout, endpoint),
            layout=layout,
            assignment=assignment,
            identity=IDENTITY,
            sender=sender,
            team=team,
            ask=lambda destination: sys.exit("the receiver does not read"),
        )
        boxes = parts_of(split, rank, layout.fields[0].shape)
        arrays = [np.ones(shape, np.float32) for _, shape in boxes]
        _wait_for_start()
        num_samples = volume(nbytes) if shared else volume(nbytes) // NUM_PRODUCERS
        for step in range(num_samples):
            for (offset, _), array in zip(boxes, arrays, strict=True):
                stream.send(step, stream.prepare({"u": Part(array, offset)}), 0.0)
        stream.close()
        sender.flush(DEADLINE_S)
        sender.close(DEADLINE_S)


def produce_raw(rank: int, endpoint: str, nbytes: int, header_nbytes: int) -> None:
    """The peer's producer: the same array again and again, without a copy."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, max(2, BUDGET_BYTES // nbytes))
        socket.connect(endpoint)
        header, payload = b"h" * header_nbytes, np.ones(nbytes, np.uint8)
        _wait_for_start()
        for _ in range(volume(nbytes) // NUM_PRODUCERS):
            socket.send(header, zmq.SNDMORE)
            socket.send(payload, copy=False)
        socket.close(linger=int(1000 * DEADLINE_S))


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        produce(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
    else:
        produce_raw(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
