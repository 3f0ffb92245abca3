"""When a client lets go what it holds: soon, unless the next step is nearer."""

import time
from contextlib import closing

import numpy as np

from melissa_like.client.streaming import Pace, PartStream
from melissa_like.client.team import SoloTeam
from melissa_like.protocol.control import Assignment, Welcome, WireField
from melissa_like.protocol.wire import decode
from melissa_like.records import FieldSpec, Layout, StudyIdentity
from melissa_like.transport import PartSender
from melissa_like.transport.zmq_transport import ZmqTransport

DEADLINE_S = 20.0


def test_a_solver_that_takes_its_time_sends_every_step_at_once() -> None:
    pace = Pace()
    assert all(pace.pushes(now) for now in np.arange(0.0, 1.0, 0.0011))


def test_steps_in_quick_succession_leave_together_every_few_milliseconds() -> None:
    pace = Pace()
    pushed = [now for now in np.arange(0.0, 1.0, 0.0001) if pace.pushes(now)]
    assert pushed[0] == 0.0
    assert len(pushed) < 500
    assert max(np.diff(pushed)) < 0.006


def test_after_a_pause_the_next_steps_leave_at_once() -> None:
    """Also those that come two by two, for the second of them would wait for the next two."""
    pace = Pace()
    for now in np.arange(0.0, 1.0, 0.0001):
        pace.pushes(now)
    for pause in (1.1, 2.0, 3.0):
        assert all(pace.pushes(pause + now) for now in (0.0, 0.0001, 0.0002))


def stream_of(sender: PartSender, endpoint: str) -> PartStream:
    layout = Layout(fields=(FieldSpec(name="u", shape=(3,)),), parameters=("a",))
    welcome = Welcome(
        server_endpoints=(endpoint,),
        server_incarnation=1,
        launcher_incarnation=1,
        routing=0,
        layout_id=layout.layout_id,
        fields=(WireField(name="u", shape=(3,), dtype="float32"),),
        parameters=("a",),
        num_steps=None,
        budget_bytes=2**20,
        heartbeat_s=DEADLINE_S,
        orphan_timeout_s=300.0,
    )
    return PartStream(
        welcome=welcome,
        layout=layout,
        assignment=Assignment(simulation=0, attempt=2, purpose=0, parameters=(1.0,), delivered_steps=()),
        identity=StudyIdentity(study=bytes(16), secret=bytes(16), launcher_incarnation=1, server_incarnation=1),
        sender=sender,
        team=SoloTeam(),
        ask=lambda server_rank: None,
    )


def test_what_is_held_does_not_wait_for_the_end_of_the_steps_that_are_passed_over() -> None:
    with closing(ZmqTransport()) as transport:
        receiver = transport.part_receiver(queue_length=8)
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
        stream = stream_of(sender, receiver.endpoint)
        for step in range(3):
            stream.send(step, stream.prepare({"u": np.ones(3)}), 0.0)
        arrived = -1
        deadline = time.monotonic() + DEADLINE_S
        while arrived < 2 and time.monotonic() < deadline:
            stream.pass_over()
            received = receiver.receive(lambda header: None, 0.0)
            if received is not None:
                arrived = decode(received.header).step
        assert arrived == 2
        sender.close(0.0)
        receiver.close()
