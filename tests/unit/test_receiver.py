"""The receiving thread: whatever arrives, it goes on; what belongs to the study is committed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest

from melissa_like.assembly import Assembler
from melissa_like.buffer import fifo
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import Box, FieldSpec, Layout, Purpose, Routing, StudyIdentity
from melissa_like.server.receiver import Arrival, Receiver, Rejection
from melissa_like.transport import PartSender
from melissa_like.transport.in_memory import MemoryTransport

DEADLINE_S = 20.0
LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
PART = Header(
    kind=Kind.PART,
    purpose=Purpose.TRAINING,
    study=IDENTITY.study,
    secret=IDENTITY.secret,
    launcher_incarnation=1,
    server_incarnation=1,
    simulation=3,
    attempt=1,
    client_rank=0,
    num_client_ranks=1,
    layout_id=LAYOUT.layout_id,
    field_id=0,
    dtype_code=0,
    step=0,
    time=0.5,
    box=Box((0,), (4,)),
)
OPEN = replace(PART, kind=Kind.OPEN, field_id=OPEN_FIELD, dtype_code=1, box=Box((0,), (1,)))


class Rig:
    """A receiver with a buffer behind it, a sender in front, and what it tells."""

    def __init__(self) -> None:
        self.news: SimpleQueue[Arrival | Rejection] = SimpleQueue()
        self.errors: list[BaseException] = []
        self.buffer = fifo(LAYOUT, 8, spare_slots=2)
        transport = MemoryTransport()
        parts = transport.part_receiver(queue_length=8)
        self.sender: PartSender = transport.part_sender([parts.endpoint], budget_bytes=2**16)
        self.receiver = Receiver(
            socket=parts,
            assembler=Assembler(
                layout=LAYOUT,
                identity=IDENTITY,
                server_rank=0,
                num_server_ranks=1,
                routing=Routing.SAMPLE,
                reserve=lambda purpose: self.buffer.reserve(),
                abandon=lambda purpose, reservation: self.buffer.abandon(reservation),
            ),
            sinks={Purpose.TRAINING: self.buffer},
            tell=self.news.put,
            on_error=self.errors.append,
        )
        self.receiver.start()

    def send(self, header: bytes, payload: bytes) -> None:
        def fill(memory: memoryview) -> None:
            memory[:] = payload

        assert self.sender.send(0, header, len(payload), fill, DEADLINE_S)

    def close(self) -> None:
        self.receiver.close(DEADLINE_S)

    def a_sample_arrives(self) -> None:
        self.send(encode(OPEN), np.array([7.0]).tobytes())
        self.send(encode(PART), np.arange(4, dtype=np.float32).tobytes())
        assert self.news.get(timeout=DEADLINE_S) == Arrival(3, 1, 0)
        draw = self.buffer.draw(1)
        memory = self.buffer.batch_memory(1, pinned=False)
        self.buffer.gather(draw, memory)
        assert memory.fields["u"].tolist() == [[0.0, 1.0, 2.0, 3.0]]
        assert memory.parameters.tolist() == [[7.0]]
        assert memory.times.tolist() == [0.5]
        assert self.errors == []


@pytest.fixture
def rig() -> Iterator[Rig]:
    with closing(Rig()) as made:
        yield made


def test_a_sample_arrives(rig: Rig) -> None:
    rig.a_sample_arrives()


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"nonsense", b"123"),
        (encode(replace(OPEN, secret=b"?" * 16, box=Box((0,), (2**60,)))), b"123"),
        (encode(replace(OPEN, box=Box((0,), (2**60,)))), b"123"),
        (encode(replace(OPEN, dtype_code=0)), b"1234"),
        (encode(replace(PART, secret=b"?" * 16)), b"123"),
        (encode(replace(PART, field_id=5)), b"x" * 16),
        (encode(replace(PART, box=Box((2**40,), (2**40,)))), b"123"),
    ],
)
def test_no_message_ends_it(rig: Rig, header: bytes, payload: bytes) -> None:
    rig.send(header, payload)
    rig.send(encode(replace(PART, simulation=5)), bytes(16))  # not opened: told, so everything before was taken
    while not isinstance(told := rig.news.get(timeout=DEADLINE_S), Rejection) or told.simulation != 5:
        assert isinstance(told, Rejection)
    assert sum(rig.receiver.refused.values()) == 2
    rig.a_sample_arrives()


def test_a_payload_of_the_wrong_size_counts_as_not_received(rig: Rig) -> None:
    rig.send(encode(OPEN), np.array([7.0]).tobytes())
    rig.send(encode(PART), b"short")
    rig.a_sample_arrives()
    assert rig.receiver.refused == {"malformed message": 1}


def test_refusals_are_counted_by_reason_and_the_first_of_each_is_written(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        rig.send(encode(replace(PART, study=b"o" * 16)), bytes(16))
    for _ in range(2):
        rig.send(b"no header", bytes(16))
    rig.a_sample_arrives()
    assert rig.receiver.refused == {"of another study": 3, "malformed header": 2}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "of another study" in lines[0]
    assert "client rank 0 of simulation 3" in lines[0]
    assert "malformed header" in lines[1]
