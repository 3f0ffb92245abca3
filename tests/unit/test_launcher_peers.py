"""What the control socket refuses is counted, whatever a stranger thinks up."""

from contextlib import closing

import pytest

from melissa_like.launcher.peers import Peers
from melissa_like.protocol.control import Acknowledge, Envelope, Request, encode_envelope
from melissa_like.protocol.link import Link
from melissa_like.records import ClientRank, StudyIdentity
from melissa_like.transport.in_memory import MemoryTransport

DEADLINE_S = 10.0
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)


def test_the_reasons_of_refusals_do_not_grow_without_bound() -> None:
    transport = MemoryTransport()
    socket = transport.control_server()
    with closing(transport):
        stranger = transport.control_client(socket.endpoint, b"stranger/0")
        peers = Peers(socket, IDENTITY)
        for version in range(2, 102):
            stranger.send(
                encode_envelope(
                    Envelope(
                        version=version,
                        study=IDENTITY.study,
                        secret=IDENTITY.secret,
                        launcher_incarnation=1,
                        number=1,
                        acknowledged=0,
                        message=Acknowledge(),
                    )
                )
            )
            assert peers.receive(DEADLINE_S) == (ClientRank("stranger"), None)
    assert sum(peers.refused.values()) == 100
    assert len(peers.refused) == 21
    assert peers.refused["others"] == 80


@pytest.mark.parametrize("name", [b"stranger", b"\xff\xfe", b"job-0001/x", b"x" * 200])
def test_who_has_no_address_is_refused(name: bytes) -> None:
    transport = MemoryTransport()
    socket = transport.control_server()
    with closing(transport):
        peers = Peers(socket, IDENTITY)
        transport.control_client(socket.endpoint, name).send(Link(IDENTITY).post(Request(), 0.0))
        received = peers.receive(DEADLINE_S)
        assert received is not None
        assert received[1] is None
    (reason,) = peers.refused
    assert "is no address: connect as JOB/RANK" in reason
    assert len(reason) < 100
