"""What is not of the study is refused and counted, over the real sockets, and ends nothing."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest

from melissa_like.assembly import Reason
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.study_keys import StudyKeys, make_study_keys
from melissa_like.protocol.control import (
    CONTROL_VERSION,
    Acknowledge,
    Envelope,
    Hello,
    Metrics,
    Scale,
    encode_envelope,
)
from melissa_like.protocol.keys import Member
from melissa_like.protocol.wire import Header, encode
from melissa_like.records import ClientRank, Operator, ServerRank, StudyIdentity
from melissa_like.transport import ControlClient, ControlServer
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.unit.test_receiver import DEADLINE_S, IDENTITY, OPEN, PART, Rig

OTHER = bytes(16)
PAYLOAD = bytes(16)


@pytest.fixture(scope="module", params=["control", "all"])
def keys(request: pytest.FixtureRequest) -> StudyKeys:
    return replace(make_study_keys(request.param), study=IDENTITY.study, secret=IDENTITY.secret)


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rig(keys: StudyKeys) -> Iterator[Rig]:
    """Server rank and client in one process: it has a pair that is both the server's and the job's."""
    pair = keys.pairs["server"]
    both = replace(keys, pairs={**keys.pairs, "job": pair})
    transport = ZmqTransport(shares_memory=False, credentials=both.credentials("server"))
    with closing(transport), closing(Rig(transport=transport)) as made:
        yield made
        made.sender.close(0.0)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (replace(PART, study=OTHER), Reason.OTHER_STUDY.value),
        (replace(PART, secret=OTHER), Reason.OTHER_STUDY.value),
        (replace(PART, secret=b"x" * 15 + b"y"), Reason.OTHER_STUDY.value),
        (replace(PART, launcher_incarnation=2), Reason.OTHER_INCARNATION.value),
        (replace(PART, server_incarnation=0), Reason.OTHER_INCARNATION.value),
        (replace(OPEN, secret=OTHER), Reason.OTHER_STUDY.value),
        (encode(PART)[:4] + b"\x01\x00" + encode(PART)[6:], "malformed header"),
        (encode(PART)[:6] + b"\x07" + encode(PART)[7:], "malformed header"),
        (encode(PART)[:-1], "malformed header"),
        (b"\x01", "malformed header"),
        (encode(PART) + bytes(4096), "malformed header"),
    ],
)
def test_a_foreign_part_is_counted_and_nothing_is_told_of_it(rig: Rig, header: Header | bytes, reason: str) -> None:
    nbytes = 8 if isinstance(header, Header) and header.kind is OPEN.kind else len(PAYLOAD)
    rig.send(encode(header) if isinstance(header, Header) else header, PAYLOAD[:nbytes])
    rig.a_sample_arrives()
    assert rig.receiver.refusals() == {reason: 1}
    assert rig.news.empty()


def test_a_part_of_an_older_attempt_is_counted_and_ends_nothing(rig: Rig) -> None:
    rig.send(encode(replace(OPEN, attempt=2)), bytes(8))
    rig.send(encode(PART), PAYLOAD)
    rig.send(encode(OPEN), bytes(8))
    rig.send(encode(replace(PART, attempt=2)), PAYLOAD)
    assert rig.news.get(timeout=DEADLINE_S).attempt == 2
    assert rig.receiver.refusals() == {Reason.OLD_ATTEMPT.value: 2}
    assert rig.news.empty()


# -- control messages -------------------------------------------------------------------------------------------------


class Launcher:
    """Reads its socket on a thread and remembers what is to be acted on."""

    def __init__(self, server: ControlServer, identity: StudyIdentity) -> None:
        self.peers = Peers(server, identity)
        self.heard: list[object] = []
        self.came = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            if (received := self.peers.receive(0.05)) is not None:
                with self.came:
                    self.heard.append(received)
                    self.came.notify_all()

    def hears(self, count: int) -> list[Any]:
        """So many messages."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.heard) >= count, DEADLINE_S)
            return self.heard[:count]

    def close(self) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)


def launcher_of(stack: ExitStack, keys: StudyKeys) -> ControlServer:
    """The launcher's end."""
    transport = stack.enter_context(closing(ZmqTransport(credentials=keys.credentials("launcher"))))
    server = transport.control_server()
    stack.callback(server.close, 0.0)
    return server


def client_of(stack: ExitStack, keys: StudyKeys, member: Member, endpoint: str, name: bytes) -> ControlClient:
    """A process's end."""
    transport = stack.enter_context(closing(ZmqTransport(credentials=keys.credentials(member))))
    client = transport.control_client(endpoint, name)
    stack.callback(client.close, 0.0)
    return client


HELLO = Hello(num_ranks=1, host="here", pid=1)
ENVELOPE: dict[str, Any] = {
    "version": CONTROL_VERSION,
    "study": IDENTITY.study,
    "secret": IDENTITY.secret,
    "launcher_incarnation": 1,
    "number": 1,
    "acknowledged": 0,
    "message": HELLO,
}


def said(**changes: Any) -> bytes:
    return encode_envelope(Envelope(**{**ENVELOPE, **changes}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (said(study=OTHER), "of another study (or with a wrong secret)"),
        (said(secret=OTHER), "of another study (or with a wrong secret)"),
        (said(launcher_incarnation=2), "of launcher incarnation 2, this is 1"),
        (said(version=3), "of version 3, this side speaks 2"),
        (said().replace(b"Hello", b"Hallo"), "not a control message: Invalid value 'Hallo'"),
        (
            said().replace(b"num_ranks", b"num_tanks"),
            "not a control message: Object missing required field",
        ),
        (said()[:-1], "not a control message: Input data was truncated"),
        (b"", "not a control message: Input data was truncated"),
        (said().replace(b"here", b"\xff\xfe\xfd\xfc"), "not a control message: 'utf-8' codec can't decode"),
    ],
)
def test_a_foreign_control_message_is_counted_and_the_next_is_heard(keys: StudyKeys, wrong: bytes, words: str) -> None:
    with ExitStack() as stack:
        server = launcher_of(stack, keys)
        launcher = stack.enter_context(closing(Launcher(server, IDENTITY)))
        client = client_of(stack, keys, "job", server.endpoint, b"job-0001/0")
        client.send(wrong)
        client.send(said())
        address = ClientRank("job-0001")
        assert launcher.hears(2) == [(address, None), (address, HELLO)]
        ((reason, count),) = launcher.peers.refused.items()
        assert words in reason
        assert count == 1
        assert IDENTITY.secret.hex() not in reason


def test_a_server_rank_that_speaks_as_a_job_is_heard_as_neither(keys: StudyKeys) -> None:
    with ExitStack() as stack:
        server = launcher_of(stack, keys)
        launcher = stack.enter_context(closing(Launcher(server, IDENTITY)))
        for count, name in enumerate((b"job-0001/0", b"server-0"), start=1):
            client_of(stack, keys, "server", server.server_endpoint, name).send(said(message=Metrics(), number=0))
            launcher.hears(count)
        assert launcher.hears(2)[1] == (ServerRank(0), Metrics())
        assert list(launcher.peers.refused) == [
            "'job-0001/0' is no address at the door of servers: connect as server-RANK"
        ]


def test_a_job_does_not_scale_its_study_and_whoever_has_the_key_of_a_server_rank_does(keys: StudyKeys) -> None:
    with ExitStack() as stack:
        server = launcher_of(stack, keys)
        launcher = stack.enter_context(closing(Launcher(server, IDENTITY)))
        name = b"operator-0a1b2c3d"
        for count, endpoint in ((0, server.server_endpoint), (1, server.endpoint)):
            client_of(stack, keys, "job", endpoint, name).send(said(message=Scale(max_jobs=9)))
            launcher.hears(count)  # at the first door it is not even heard
        client_of(stack, keys, "server", server.server_endpoint, name).send(said(message=Scale(max_jobs=4)))
        _, heard = launcher.hears(2)
        assert heard == (Operator("0a1b2c3d"), Scale(max_jobs=4))


def test_nothing_is_said_to_who_is_refused(keys: StudyKeys) -> None:
    """An answer would tell a stranger that somebody listens, and more."""
    with ExitStack() as stack:
        server = launcher_of(stack, keys)
        peers = Peers(server, IDENTITY)
        client = client_of(stack, keys, "job", server.endpoint, b"job-0001/0")
        client.send(said(secret=OTHER, message=Acknowledge()))
        assert peers.receive(DEADLINE_S) == (ClientRank("job-0001"), None)
        peers.acknowledge()
        peers.repeat()
        assert client.receive(0.05) is None
