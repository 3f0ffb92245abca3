"""What the control socket refuses is counted, whatever a stranger thinks up."""

from contextlib import closing

from melissa_like.launcher.peers import Peers
from melissa_like.protocol.control import Acknowledge, Envelope, encode_envelope
from melissa_like.records import StudyIdentity
from melissa_like.transport.in_memory import MemoryTransport

DEADLINE_S = 10.0


def test_the_reasons_of_refusals_do_not_grow_without_bound() -> None:
    identity = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
    transport = MemoryTransport()
    socket = transport.control_server()
    with closing(transport):
        stranger = transport.control_client(socket.endpoint, b"stranger")
        peers = Peers(socket, identity)
        for version in range(2, 102):
            stranger.send(
                encode_envelope(
                    Envelope(
                        version=version,
                        study=identity.study,
                        secret=identity.secret,
                        launcher_incarnation=1,
                        number=1,
                        acknowledged=0,
                        message=Acknowledge(),
                    )
                )
            )
            assert peers.receive(DEADLINE_S) == ("stranger", None)
    assert sum(peers.refused.values()) == 100
    assert len(peers.refused) == 21
    assert peers.refused["others"] == 80
