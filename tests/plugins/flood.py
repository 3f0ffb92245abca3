"""A process that floods a study with frames that are not of it: random, truncated, with bits turned, and replayed.

Some come from insiders, whose connections the study lets in, so that every decoder sees them; what they carry is never
of the study. Others come from strangers, who send what would be taken if it came from within.
"""

import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from socket import create_connection
from typing import Any

import numpy as np
import zmq

from melissa_like.client.environment import run_dir_from_environment
from melissa_like.protocol import read_connection
from melissa_like.protocol.control import Envelope, Goodbye, ServerHello, encode_envelope
from melissa_like.protocol.keys import Credentials
from melissa_like.protocol.wire import Header, Kind, encode
from melissa_like.records import Box, Purpose, StudyIdentity
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from melissa_like.transport.admission import show
from melissa_like.transport.shared_memory import split_endpoint
from tests.plugins.solvers import marked

_POOL = 2000
_SENT_S = 30.0
_STUDY_AND_SECRET = slice(8, 40)  # in a header
_PAYLOAD = bytes(8 * 4 * 4)

Frames = list[bytes]


def turned(rng: random.Random, whole: bytes, where: range, count: int = 1) -> bytes:
    """With some bits turned."""
    content = bytearray(whole)
    for _ in range(count):
        content[rng.choice(where)] ^= 1 << rng.randrange(8)
    return bytes(content)


def foreign_parts(rng: random.Random, part: Header) -> Iterator[Frames]:
    """Data messages that no study takes, made from one that this study would take."""
    whole, inside = encode(part), range(*_STUDY_AND_SECRET.indices(96))
    makers: list[Callable[[], Frames]] = [
        lambda: [rng.randbytes(rng.randrange(1, 300)) for _ in range(rng.randrange(1, 6))],
        lambda: [whole[: rng.randrange(1, len(whole))], _PAYLOAD],
        lambda: [turned(rng, turned(rng, whole, inside), range(40, 96), rng.randrange(5)), _PAYLOAD],
        lambda: [encode(replace(part, server_incarnation=rng.randrange(2, 2**32))), _PAYLOAD],
        lambda: [encode(replace(part, launcher_incarnation=0, step=rng.randrange(9))), _PAYLOAD],
        lambda: [b"", rng.randbytes(rng.randrange(1, 200)), rng.randbytes(rng.randrange(200))],
        lambda: [b"", b"", b"", rng.randbytes(39)],
        lambda: [encode(replace(part, secret=bytes(16))), b"", rng.randbytes(40)],
    ]
    while True:
        yield rng.choice(makers)()


def foreign_messages(rng: random.Random, envelope: Envelope) -> Iterator[Frames]:
    """The same of control messages."""
    whole = encode_envelope(envelope)
    secret_at = whole.index(envelope.secret)
    inside = range(secret_at, secret_at + 16)
    other = {"study": bytes(16), "secret": envelope.secret, "number": 1, "acknowledged": 0, "message": envelope.message}
    makers: list[Callable[[], Frames]] = [
        lambda: [rng.randbytes(rng.randrange(300))],
        lambda: [whole[: rng.randrange(len(whole))]],
        lambda: [turned(rng, turned(rng, whole, inside), range(len(whole)), rng.randrange(5))],
        lambda: [encode_envelope(Envelope(version=1, launcher_incarnation=1, **other))],  # type: ignore[arg-type]
        lambda: [encode_envelope(Envelope(version=2, launcher_incarnation=1, **other))],  # type: ignore[arg-type]
        lambda: [b"\x81\xa1x" + b"\x91" * 2000],
        lambda: [rng.randbytes(9) for _ in range(rng.randrange(2, 5))],
    ]
    while True:
        yield rng.choice(makers)()


class Flood:
    """The sockets of an attacker, to one server rank and to the launcher."""

    def __init__(self, run_dir: Path, seed: int, stack: ExitStack) -> None:
        self._rng = random.Random(seed)
        self._context = stack.enter_context(zmq.Context())
        self._stack = stack
        connection = read_connection(run_dir)
        said = (entry.event for entry in read_journal(run_dir) if isinstance(entry.event, ev.Said))
        hello = next(event.message for event in said if isinstance(event.message, ServerHello))
        server, identity, mine = split_endpoint(hello.endpoint)[0], connection.identity(), connection.credentials
        wrong = Credentials(study=mine.study, secret=bytes(16), keys=None)
        launcher_key = mine.keys.launcher if mine.keys is not None else None
        part, goodbye = part_of(identity), goodbye_of(identity)
        forged = [encode(part), b"\x7f" * len(_PAYLOAD)]
        doors = (connection.endpoint, connection.server_endpoint)
        self._addresses = [_address_of(endpoint) for endpoint in (server, *doors)]
        self._insiders = [
            (self._socket(zmq.PUSH, server, mine, None), foreign_parts(self._rng, part)),
            (self._socket(zmq.DEALER, connection.endpoint, mine, launcher_key), foreign_messages(self._rng, goodbye)),
        ]
        self._strangers = [
            *((self._socket(zmq.PUSH, server, shown, None), forged) for shown in (None, wrong)),
            *((self._socket(zmq.DEALER, door, wrong, None), [encode_envelope(goodbye)]) for door in doors),
            *((self._socket(zmq.DEALER, door, None, None), [encode_envelope(goodbye)]) for door in doors),
            (self._socket(zmq.DEALER, doors[1], mine, launcher_key), [encode_envelope(goodbye)]),
        ]

    def send(self, num_frames: int) -> None:
        """So many frames of the insiders, and what strangers say meanwhile; each of a pool comes again and again."""
        pools = [[next(source) for _ in range(_POOL)] for _, source in self._insiders]
        sent = turn = 0
        while sent < num_frames:
            for (socket, _), pool in zip(self._insiders, pools, strict=True):
                frames = pool[turn % _POOL]
                socket.send_multipart(frames)
                sent += len(frames)
            if turn % 50 == 0:
                for socket, forged in self._strangers:
                    _try(socket, forged)
                for address in self._addresses:
                    _talk_nonsense(address, self._rng)
            turn += 1

    def _socket(
        self, kind: int, endpoint: str, credentials: Credentials | None, listener: str | None
    ) -> "zmq.Socket[bytes]":
        socket = self._stack.enter_context(self._context.socket(kind))
        socket.setsockopt(zmq.LINGER, 1000)
        socket.setsockopt(zmq.SNDTIMEO, int(1000 * _SENT_S))
        if kind == zmq.DEALER:
            socket.setsockopt(zmq.IDENTITY, b"flood-%d/0" % self._rng.randrange(100))
        if credentials is not None:
            show(socket, credentials, listener)
        socket.connect(endpoint)
        return socket


def _try(socket: "zmq.Socket[bytes]", frames: Frames) -> None:
    """Strangers' frames wait in their own process, and there are only so many."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        return


def _address_of(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def _talk_nonsense(address: tuple[str, int], rng: random.Random) -> None:
    """What does not even follow ZeroMQ's protocol, or announces a frame of 2**62 bytes, and hangs up."""
    mechanism = rng.choice([b"PLAIN", b"CURVE", b"NULL"]).ljust(20, b"\0")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism + bytes(32)
    huge = greeting + b"\x06" + struct.pack(">Q", 2**62)
    nonsense = rng.choice([rng.randbytes(100), b"GET / HTTP/1.1\r\n\r\n", huge])
    with suppress(OSError), create_connection(address, timeout=1.0) as connection:
        connection.sendall(nonsense + rng.randbytes(rng.randrange(1000)))


def part_of(identity: StudyIdentity) -> Header:
    """A part of simulation 1 that would be taken, with values that are wrong."""
    return Header(
        kind=Kind.PART,
        purpose=Purpose.TRAINING,
        study=identity.study,
        secret=identity.secret,
        launcher_incarnation=1,
        server_incarnation=1,
        simulation=1,
        attempt=1,
        client_rank=0,
        num_client_ranks=1,
        layout_id=0,
        field_id=0,
        dtype_code=0,
        step=5,
        time=0.0,
        box=Box((0, 0), (8, 4)),
    )


def goodbye_of(identity: StudyIdentity) -> Envelope:
    """It would end the study as failed: nobody has simulation 10,000."""
    return Envelope(
        version=1,
        study=identity.study,
        secret=identity.secret,
        launcher_incarnation=1,
        number=1,
        acknowledged=0,
        message=Goodbye(simulation=10_000, attempt=1, num_steps=6, parts_sent=(6,)),
    )


def flooding(
    parameters: Mapping[str, float], comm: Any, *, num_frames: int, seed: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A sound solver, but for simulation 0: half-way through, it floods the study."""
    for step, fields in marked(parameters, comm):
        if step == 3 and parameters["number"] == 0:
            started = time.monotonic()
            with ExitStack() as stack:
                Flood(run_dir_from_environment(), seed, stack).send(num_frames)
            print(f"{num_frames} frames in {time.monotonic() - started:.1f} s", flush=True)  # noqa: T201
        yield step, {name: np.asarray(values) for name, values in fields.items()}
