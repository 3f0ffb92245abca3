"""Who may connect to a study's sockets, and what becomes of the others: they are counted, and harm nobody."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest
import zmq

from melissa_like.errors import TransportError
from melissa_like.launcher.study_keys import StudyKeys, make_study_keys
from melissa_like.protocol.keys import Credentials
from melissa_like.transport import Door, Peer
from melissa_like.transport.admission import Entry, answer
from melissa_like.transport.shared_memory import split_endpoint
from melissa_like.transport.wakeup import sleep_until
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import DEADLINE_S, SHORT_S, receive, send

WRONG = "a connection with a wrong key or secret"
STRANGE = "a connection that ended before it had shown a key or secret"


@pytest.fixture(params=["none", "control", "all"])
def keys(request: pytest.FixtureRequest) -> StudyKeys:
    return make_study_keys(request.param)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def transport_of(stack: ExitStack, credentials: Credentials | None) -> ZmqTransport:
    return stack.enter_context(closing(ZmqTransport(shares_memory=False, credentials=credentials)))


def other(keys: StudyKeys, member: Any) -> Credentials:
    """Of the same study, but made up: whoever reads nothing of the run directory can do no better."""
    stranger = make_study_keys(keys.encryption)
    known = keys.keys("launcher")
    own = stranger.keys(member)
    if known is None or own is None:
        return replace_secret(keys.credentials(member))
    public = {name: getattr(known, name) for name in ("launcher", "server", "job")}
    mine = type(own)(**public, own=own.own, encrypts_data=own.encrypts_data)
    return Credentials(study=keys.study, secret=bytes(16), keys=mine)


def replace_secret(credentials: Credentials) -> Credentials:
    return Credentials(study=credentials.study, secret=bytes(16), keys=credentials.keys)


def comes_to(refused: Callable[[], Mapping[str, int]], reason: str) -> bool:
    """Whether somebody is counted under this reason in time, and under no other."""
    return sleep_until(lambda: set(refused()) == {reason}, DEADLINE_S)


def test_jobs_and_server_ranks_are_let_in_at_their_doors(stack: ExitStack, keys: StudyKeys) -> None:
    server = transport_of(stack, keys.credentials("launcher")).control_server()
    job = transport_of(stack, keys.credentials("job")).control_client(server.endpoint, b"job-0001/0")
    rank = transport_of(stack, keys.credentials("server")).control_client(server.server_endpoint, b"server-0")
    for end, peer in ((job, Peer(Door.JOBS, b"job-0001/0")), (rank, Peer(Door.SERVERS, b"server-0"))):
        end.send(b"hello")
        assert server.receive(DEADLINE_S) == (peer, b"hello")
        assert server.send(peer, b"welcome")
        assert end.receive(DEADLINE_S) == b"welcome"
    assert server.refused == {}
    for opened in (job, rank, server):
        opened.close(0.0)


@pytest.mark.parametrize("member", ["job", "server"])
def test_a_wrong_key_or_secret_is_counted_and_says_nothing(stack: ExitStack, keys: StudyKeys, member: str) -> None:
    server = transport_of(stack, keys.credentials("launcher")).control_server()
    endpoint = server.endpoint if member == "job" else server.server_endpoint
    stranger = transport_of(stack, other(keys, member)).control_client(endpoint, b"server-0")
    stranger.send(b"hello")
    assert comes_to(lambda: server.refused, WRONG)
    assert server.receive(SHORT_S) is None
    honest = transport_of(stack, keys.credentials(member)).control_client(endpoint, b"server-0")  # type: ignore[arg-type]
    honest.send(b"hello")
    received = server.receive(DEADLINE_S)
    assert received is not None
    assert received[1] == b"hello"
    for opened in (stranger, honest, server):
        opened.close(0.0)


def test_a_job_cannot_come_through_the_door_of_server_ranks(stack: ExitStack) -> None:
    keys = make_study_keys("control")
    server = transport_of(stack, keys.credentials("launcher")).control_server()
    for member, endpoint in (("job", server.server_endpoint), ("server", server.endpoint)):
        client = transport_of(stack, keys.credentials(member)).control_client(endpoint, b"server-0")  # type: ignore[arg-type]
        client.send(b"hello")
        assert comes_to(lambda: server.refused, WRONG)
        assert server.receive(SHORT_S) is None
        client.close(0.0)
    server.close(0.0)


def test_who_shows_nothing_is_counted(stack: ExitStack, keys: StudyKeys) -> None:
    server = transport_of(stack, keys.credentials("launcher")).control_server()
    stranger = transport_of(stack, None).control_client(server.endpoint, b"job-0001/0")
    stranger.send(b"hello")
    assert comes_to(lambda: server.refused, STRANGE)
    assert server.receive(SHORT_S) is None
    for opened in (stranger, server):
        opened.close(0.0)


def test_who_encrypts_for_another_launcher_is_counted_and_not_answered(stack: ExitStack) -> None:
    """The launcher that the job would speak to has ended, and another has its port now."""
    keys, others = make_study_keys("control"), make_study_keys("control")
    server = transport_of(stack, keys.credentials("launcher")).control_server()
    lost = transport_of(stack, others.credentials("job")).control_client(server.endpoint, b"job-0001/0")
    lost.send(b"hello")
    assert comes_to(lambda: server.refused, STRANGE)
    assert server.receive(SHORT_S) is None
    for opened in (lost, server):
        opened.close(0.0)


def test_parts_come_from_who_knows_the_study(stack: ExitStack, keys: StudyKeys) -> None:
    receiver = transport_of(stack, keys.credentials("server")).part_receiver(queue_length=4)
    stranger = transport_of(stack, other(keys, "job")).part_sender([receiver.endpoint], budget_bytes=2**20)
    assert send(stranger, b"forged", b"123")
    assert comes_to(lambda: receiver.refused, WRONG)
    honest = transport_of(stack, keys.credentials("job")).part_sender([receiver.endpoint], budget_bytes=2**20)
    assert send(honest, b"sent", b"123")
    received, payload = receive(receiver, 3)
    assert received is not None
    assert (received.header, payload) == (b"sent", b"123")
    assert receive(receiver, 3, timeout_s=SHORT_S)[0] is None
    for sender in (stranger, honest):
        sender.close(0.0)
    receiver.close()


def test_a_stranger_cannot_fill_the_memory_of_a_server_rank(stack: ExitStack, keys: StudyKeys) -> None:
    """A message of frames without end is held by ZeroMQ, whatever its limits, until it ends."""
    receiver = transport_of(stack, keys.credentials("server")).part_receiver(queue_length=4)
    context = stack.enter_context(zmq.Context())
    stranger = stack.enter_context(context.socket(zmq.PUSH))
    stranger.setsockopt(zmq.LINGER, 0)
    stranger.setsockopt(zmq.IMMEDIATE, 1)  # sends nothing before it is connected
    stranger.connect(split_endpoint(receiver.endpoint)[0])
    assert comes_to(lambda: receiver.refused, STRANGE)
    with pytest.raises(zmq.Again):
        stranger.send(b"frame", zmq.SNDMORE | zmq.NOBLOCK)
    receiver.close()


def test_without_curve_an_encrypted_study_says_what_to_do(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = make_study_keys("control")
    monkeypatch.setattr(zmq, "has", lambda capability: False)
    for member in ("launcher", "server", "job"):
        with pytest.raises(TransportError, match=r"without CURVE.*transport\.encryption=none"):
            ZmqTransport(credentials=keys.credentials(member))  # type: ignore[arg-type]
    with pytest.raises(TransportError, match="without CURVE"):
        make_study_keys("control")
    transport_of(stack, make_study_keys("none").credentials("launcher")).control_server().close(0.0)


def test_nothing_that_is_printed_holds_a_secret(keys: StudyKeys) -> None:
    for member in ("launcher", "server", "job"):
        credentials = keys.credentials(member)  # type: ignore[arg-type]
        printed = f"{credentials!r} {keys!r} {Entry(b'PLAIN', (b'name', keys.secret.hex().encode()))!r}"
        secrets = [keys.secret.hex(), repr(keys.secret), *(pair.secret for pair in keys.pairs.values())]
        assert not [secret for secret in secrets if secret in printed]


@pytest.mark.parametrize(
    ("request_frames", "status"),
    [
        ([b"1.0", b"7", b"jobs", b"127.0.0.1", b"", b"PLAIN", b"name", b"password"], b"200"),
        ([b"1.0", b"7", b"jobs", b"127.0.0.1", b"", b"PLAIN", b"name", b"passwore"], b"400"),
        ([b"1.0", b"7", b"jobs", b"127.0.0.1", b"", b"PLAIN", b"name"], b"400"),
        ([b"1.0", b"7", b"jobs", b"127.0.0.1", b"", b"NULL"], b"400"),
        ([b"1.0", b"7", b"elsewhere", b"127.0.0.1", b"", b"PLAIN", b"name", b"password"], b"400"),
        ([b"2.0", b"7", b"jobs", b"127.0.0.1", b"", b"PLAIN", b"name", b"password"], b"500"),
        ([b"1.0", b"7"], b"500"),
        ([], b"500"),
    ],
)
def test_the_answer_to_a_question_of_zeromq(request_frames: list[bytes], status: bytes) -> None:
    reply, refusing = answer(request_frames, {b"jobs": Entry(b"PLAIN", (b"name", b"password"))})
    assert len(reply) == 6
    assert reply[2] == status
    assert reply[1] == (request_frames[1] if len(request_frames) > 1 else b"")
    assert (refusing is not None) == (status == b"400")


def test_the_keys_of_another_process_are_not_among_what_it_has(keys: StudyKeys) -> None:
    assert replace(keys, pairs={}).keys("job") is None
    job = keys.keys("job")
    if job is not None:
        assert job.own == keys.pairs["job"]
        assert (job.launcher, job.server) == (keys.pairs["launcher"].public, keys.pairs["server"].public)
