"""What the receiving thread refuses is counted by reason, and said once."""

import queue
from dataclasses import replace

import numpy as np
import pytest

from melissa_like.assembly import Assembler, as_bytes
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import Box, FieldSpec, Layout, Purpose, Routing, StudyIdentity
from melissa_like.server.receiver import Arrival, Receiver, Rejection
from melissa_like.training import ValidationSet
from melissa_like.transport.memory import MemoryTransport

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
PART = Header(
    kind=Kind.PART,
    purpose=Purpose.TRAINING,
    study=IDENTITY.study,
    secret=IDENTITY.secret,
    launcher_incarnation=1,
    server_incarnation=1,
    simulation=0,
    attempt=1,
    client_rank=0,
    num_client_ranks=1,
    layout_id=LAYOUT.layout_id,
    field_id=0,
    dtype_code=0,
    step=0,
    time=0.0,
    box=Box((0,), (4,)),
)
OPEN = replace(PART, kind=Kind.OPEN, field_id=OPEN_FIELD, dtype_code=1, box=Box((0,), (1,)))


def test_refusals_are_counted_by_reason_and_the_first_of_each_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    transport, told = MemoryTransport(), queue.SimpleQueue[Arrival | Rejection]()
    sink = ValidationSet(LAYOUT)
    assembler = Assembler(
        layout=LAYOUT,
        identity=IDENTITY,
        server_rank=0,
        num_server_ranks=1,
        routing=Routing.SAMPLE,
        reserve=lambda purpose: sink.reserve(),
        abandon=lambda purpose, reservation: None,
    )
    socket = transport.part_receiver(queue_length=100)
    sender = transport.part_sender((socket.endpoint,), budget_bytes=2**20)
    receiver = Receiver(
        socket=socket, assembler=assembler, sinks={Purpose.TRAINING: sink}, tell=told.put, on_error=print
    )
    values, parameters = as_bytes(np.zeros(4, np.float32)), as_bytes(np.zeros(1))

    def send(encoded: bytes, payload: memoryview) -> None:
        def fill(target: memoryview) -> None:
            target[:] = payload

        assert sender.send(0, encoded, payload.nbytes, fill, 10.0)

    receiver.start()
    try:
        for _ in range(3):
            send(encode(replace(PART, study=b"o" * 16)), values)
        for _ in range(2):
            send(b"no header", values)
        send(encode(OPEN), parameters)
        send(encode(PART), values)
        news = told.get(timeout=10.0)
        while not isinstance(news, Arrival) or news.step is None:
            news = told.get(timeout=10.0)
    finally:
        receiver.close(10.0)
        sender.close(0.0)
    assert receiver.refused == {"of another study": 3, "malformed header": 2}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "of another study" in lines[0]
    assert "client rank 0 of simulation 0" in lines[0]
    assert "malformed header" in lines[1]
