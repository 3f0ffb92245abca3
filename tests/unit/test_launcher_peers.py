"""What the control socket refuses is counted, whatever a stranger thinks up."""

from contextlib import closing

import msgspec
import pytest

from melissa_like.launcher.peers import Peers
from melissa_like.protocol.control import (
    CONTROL_VERSION,
    Acknowledge,
    Blocked,
    Envelope,
    Goodbye,
    Hello,
    Refused,
    Request,
    Scale,
    Stop,
    encode_envelope,
)
from melissa_like.protocol.link import Link
from melissa_like.records import ClientRank, Operator, ServerRank, StudyIdentity
from melissa_like.transport import ControlClient
from melissa_like.transport.in_memory import MemoryTransport

DEADLINE_S = 10.0
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)


def test_the_reasons_of_refusals_do_not_grow_without_bound() -> None:
    transport = MemoryTransport()
    socket = transport.control_server()
    with closing(transport):
        stranger = transport.control_client(socket.endpoint, b"stranger/0")
        peers = Peers(socket, IDENTITY)
        for version in range(3, 103):
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
    assert "is no address at the door of jobs: connect as JOB/RANK" in reason
    assert len(reason) < 120


class Party:
    """Peers of a study that expects `job-0001` and `server-0`, and clients that connect to it."""

    def __init__(self) -> None:
        self.transport = MemoryTransport()
        self.socket = self.transport.control_server()
        self.peers = Peers(self.socket, IDENTITY, lambda process: process in ("job-0001", ServerRank(0)))

    def connect(self, name: bytes, *, at_servers: bool = False) -> tuple[ControlClient, Link]:
        """A process that has just started, and speaks for the first time."""
        endpoint = self.socket.server_endpoint if at_servers else self.socket.endpoint
        return self.transport.control_client(endpoint, name), Link(IDENTITY)

    def hears(self) -> tuple[object, ...]:
        """Address and message of what comes next."""
        received = self.peers.receive(DEADLINE_S)
        assert received is not None
        return received


def answer_to(client: ControlClient, link: Link) -> object:
    """The message that comes next."""
    received = client.receive(DEADLINE_S)
    assert received is not None
    return link.receive(received)


HELLO = Hello(num_ranks=1, host="here", pid=1)


@pytest.mark.parametrize("name", [b"job-0001/0", b"stranger/0"])
@pytest.mark.parametrize("version", [1, CONTROL_VERSION + 1])
def test_a_job_of_another_version_is_refused_in_words_that_it_can_read(name: bytes, version: int) -> None:
    """Whatever its messages look like."""
    party = Party()
    client, _ = party.connect(name)
    said = {
        "version": version,
        "study": IDENTITY.study,
        "secret": IDENTITY.secret,
        "launcher_incarnation": 1,
        "number": 1,
        "acknowledged": 0,
        "message": {"type": "Hallo"},
    }
    for _ in range(2):
        client.send(msgspec.msgpack.encode(said))
        assert party.hears()[1] is None
        received = client.receive(DEADLINE_S)
        assert received is not None
        answer = msgspec.msgpack.decode(received)
        reason = answer["message"].pop("reason")
        assert answer == {**said, "acknowledged": 1, "message": {"type": "Refused"}}
        assert reason.startswith(f"this job speaks version {version} of the protocol and its launcher version 2: ")
    client.send(msgspec.msgpack.encode({**said, "secret": b"y" * 16}))
    assert party.hears()[1] is None
    assert client.receive(0.0) is None


def test_every_process_with_the_name_of_a_refused_stranger_is_answered() -> None:
    party, stranger = Party(), ClientRank("stranger")
    for _ in range(3):
        client, link = party.connect(b"stranger/0")
        client.send(link.post(HELLO, 0.0))
        assert party.hears() == (stranger, HELLO)
        party.peers.tell(stranger, Refused(reason="not a living job"))
        party.peers.acknowledge()
        assert answer_to(client, link) == Refused(reason="not a living job")
        assert link.settled


def test_a_rank_of_a_job_that_has_ended_is_told_so_however_long_it_has_spoken() -> None:
    party, rank = Party(), ClientRank("job-0001", 3)
    client, link = party.connect(b"job-0001/3")
    for number in range(3):
        client.send(link.post(Blocked(server_rank=number), 0.0))
        assert party.hears() == (rank, Blocked(server_rank=number))
    party.peers.forget("job-0001")
    party.peers._expects = lambda process: False
    client.send(link.post(Blocked(server_rank=3), 0.0))
    assert party.hears() == (rank, Blocked(server_rank=3))
    party.peers.tell(rank, Stop(reason="given up"))
    assert answer_to(client, link) == Stop(reason="given up")


def test_only_questions_of_a_stranger_are_heard() -> None:
    party, stranger = Party(), ClientRank("stranger")
    client, link = party.connect(b"stranger/0")
    for message in (Request(), Goodbye(simulation=7, attempt=1, num_steps=1, parts_sent=(1,))):
        client.send(link.post(message, 0.0))
        assert party.hears() == (stranger, None)
    assert party.peers.refused == {"a message of a process that the study does not expect, or not any more": 2}


@pytest.mark.parametrize(
    ("name", "at_servers", "words"),
    [
        (b"server-0", False, "'server-0' is no address at the door of jobs: connect as JOB/RANK"),
        (b"job-0001/0", True, "'job-0001/0' is no address at the door of servers: connect as server-RANK"),
        (b"server-0.1", True, "'server-0.1' is no address at the door of servers: connect as server-RANK"),
    ],
)
def test_a_name_of_the_other_kind_is_no_address(name: bytes, at_servers: bool, words: str) -> None:
    party = Party()
    client, link = party.connect(name, at_servers=at_servers)
    client.send(link.post(HELLO, 0.0))
    assert party.hears()[1] is None
    assert party.peers.refused == {words: 1}


def test_a_process_that_is_expected_is_known_until_it_is_forgotten() -> None:
    party, rank = Party(), ServerRank(0)
    client, link = party.connect(b"server-0", at_servers=True)
    client.send(link.post(Acknowledge(), 0.0))
    assert party.hears() == (rank, Acknowledge())
    party.peers.acknowledge()
    party.peers.tell(rank, Stop(reason="over"))
    assert answer_to(client, link) is None  # the acknowledgement
    assert answer_to(client, link) == Stop(reason="over")
    party.peers.forget(rank)
    party.peers.tell(rank, Stop(reason="over"))
    assert client.receive(0.0) is None


OPERATOR = Operator("0a1b2c3d")


def test_a_command_of_the_user_is_answered_and_forgotten() -> None:
    party = Party()
    for _ in range(2):
        client, link = party.connect(b"operator-0a1b2c3d", at_servers=True)
        client.send(link.post(Scale(max_jobs=4), 0.0))
        assert party.hears() == (OPERATOR, Scale(max_jobs=4))
        party.peers.tell(OPERATOR, Refused(reason="no"))
        party.peers.acknowledge()
        assert answer_to(client, link) == Refused(reason="no")
        assert link.settled
    party.peers.tell(OPERATOR, Refused(reason="no"))
    assert client.receive(0.0) is None
    assert party.peers.refused == {}


def test_a_command_of_the_user_says_nothing_else_and_comes_through_one_door() -> None:
    party = Party()
    client, link = party.connect(b"operator-0a1b2c3d", at_servers=True)
    client.send(link.post(HELLO, 0.0))
    assert party.hears() == (OPERATOR, None)
    at_jobs, link = party.connect(b"operator-0a1b2c3d")
    at_jobs.send(link.post(Scale(max_jobs=4), 0.0))
    assert party.hears()[1] is None
    assert party.peers.refused == {
        "a message of a process that the study does not expect, or not any more": 1,
        "'operator-0a1b2c3d' is no address at the door of jobs: connect as JOB/RANK": 1,
    }


def test_nobody_else_scales_a_study() -> None:
    party = Party()
    for name, at_servers in ((b"stranger/0", False), (b"server-7", True)):
        client, link = party.connect(name, at_servers=at_servers)
        client.send(link.post(Scale(max_jobs=4), 0.0))
        assert party.hears()[1] is None
    assert sum(party.peers.refused.values()) == 2
