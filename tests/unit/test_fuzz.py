"""Whatever comes from a wire or a file is decoded or refused by the one error that its reader expects."""

import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melissa_like import protocol
from melissa_like.errors import ConfigurationError, ProtocolError
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.study_keys import make_study_keys
from melissa_like.protocol import Connection, read_connection, write_connection
from melissa_like.protocol import control as say
from melissa_like.protocol.control import CONTROL_VERSION, decode_envelope
from melissa_like.protocol.keys import KeyPair, read_key_pair
from melissa_like.protocol.link import Link
from melissa_like.records import ClientRank, ServerRank, StudyIdentity, parse_address
from melissa_like.study import Entry, Journal, read_journal
from melissa_like.study import events as ev
from melissa_like.study.journal import JOURNAL_FILE
from melissa_like.transport.admission import Entry as Admission
from melissa_like.transport.admission import answer
from melissa_like.transport.bundles import Bundle, LostBundle, OpenedBundle
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.shared_memory import Mappings, Notice, Ring, read_probe, split_endpoint

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

#: What msgpack can say.
said = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
kinds = st.sampled_from([kind.__name__ for kind in say.ControlMessage.__args__])  # type: ignore[attr-defined]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some bits turned, cut off, or with others behind."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content[: draw(st.integers(0, len(content)))]) + draw(st.binary(max_size=8))


# -- control messages -------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_foreign_bytes_are_no_control_message(encoded: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_envelope(encoded)


@given(st.dictionaries(kinds | st.text(max_size=10), said, max_size=8), kinds, st.data())
def test_an_envelope_of_anything_is_refused_or_decoded(content: dict[str, Any], kind: str, data: st.DataObject) -> None:
    """With the right frame around it: what is in it may be anything, also under the names that are expected."""
    fields = {name: data.draw(said) for name in say.__dict__.get(kind).__struct_fields__}  # type: ignore[union-attr]
    envelope = {
        "version": CONTROL_VERSION,
        "study": IDENTITY.study,
        "secret": IDENTITY.secret,
        "launcher_incarnation": 1,
        "number": data.draw(st.integers(-5, 5)),
        "acknowledged": data.draw(st.integers(-(2**63), 2**64 - 1)),
        "message": {"type": kind, **fields},
        **content,
    }
    link = Link(IDENTITY)
    with suppress(ProtocolError):
        link.receive(msgspec.msgpack.encode(envelope))


@given(st.data())
def test_a_damaged_control_message_is_refused_or_decoded(data: st.DataObject) -> None:
    goodbye = say.Goodbye(simulation=3, attempt=2, num_steps=100, parts_sent=(50, 2**40))
    encoded = data.draw(damaged(Link(IDENTITY).post(goodbye, 0.0)))
    with suppress(ProtocolError):
        assert decode_envelope(encoded)


BOMBS = [
    b"\x91" * 10**6,
    b"\x81\xa1a" * 10**6,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa3\xff\xff\xff\x01",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=["lists", "maps", "long list", "long bytes", "no text"])
@pytest.mark.parametrize("key", [b"message", b"version", b"nobody knows it"])
def test_what_would_take_all_memory_or_stack_is_refused(bomb: bytes, key: bytes) -> None:
    frame = b"\x81" + bytes([0xA0 + len(key)]) + key + bomb
    with pytest.raises(ProtocolError, match="not a control message"):
        decode_envelope(frame)


@given(st.lists(st.tuples(st.binary(max_size=80), st.booleans(), st.binary(max_size=200)), max_size=20))
def test_a_crowd_of_strangers_leaves_nothing_behind(crowd: list[tuple[bytes, bool, bytes]]) -> None:
    transport = MemoryTransport()
    socket = transport.control_server()
    peers = Peers(socket, IDENTITY, lambda process: False)
    for name, at_servers, message in crowd:
        transport.control_client(socket.server_endpoint if at_servers else socket.endpoint, name).send(message)
        transport.control_client(socket.endpoint, b"job-1/0").send(Link(IDENTITY).post(say.Request(), 0.0))
        for _ in range(2):
            received = peers.receive(10.0)
            assert received is not None
            assert received[1] is None
        peers.acknowledge()
    assert not peers._links
    assert not peers._strangers
    assert not peers._addresses
    assert sum(peers.refused.values()) == 2 * len(crowd)


@given(st.text(max_size=90))
def test_every_name_is_an_address_or_none(name: str) -> None:
    address = parse_address(name)
    if address is not None:
        assert isinstance(address, ServerRank) or "/" not in address.job
        assert isinstance(address, ClientRank) or address.incarnation > 0


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_every_question_about_who_may_connect_is_answered(request_frames: list[bytes]) -> None:
    for frames in (request_frames, [b"1.0", *request_frames]):
        reply, _ = answer(frames, {b"jobs": Admission(b"PLAIN", (b"name", b"password"))})
        assert len(reply) == 6
        assert reply[2] in (b"400", b"500")


# -- parts ------------------------------------------------------------------------------------------------------------


def taken(bundle: OpenedBundle | LostBundle) -> list[bytes]:
    """The headers of all parts."""
    headers = []
    while True:
        last = bundle.is_last
        headers.append(bundle.take(lambda header: None).header)
        if last:
            return headers


@given(st.binary(max_size=200), st.integers(0, 500))
def test_an_index_of_anything_is_refused_or_fits_its_body(index: bytes, nbytes: int) -> None:
    released: list[int] = []
    body = bytes(nbytes)
    with suppress(ProtocolError):
        headers = taken(OpenedBundle(index, memoryview(body), lambda: released.append(1)))
        assert sum(map(len, headers)) < len(index)
    assert released == [1]
    with suppress(ProtocolError):
        taken(LostBundle(index, nbytes, "lost"))


@given(st.data())
def test_a_damaged_index_is_refused_or_fits_its_body(data: st.DataObject) -> None:
    bundle = Bundle(memoryview(bytearray(1000)))
    for nbytes in (5, 0, 100):
        bundle.add(b"a header", nbytes, lambda memory: None)
    index = data.draw(damaged(bundle.frames[1]))
    body = bytes(bundle.nbytes)
    with suppress(ProtocolError):
        assert taken(OpenedBundle(index, memoryview(body), lambda: None))


@given(st.data())
def test_a_notice_of_anything_opens_nothing_or_the_ring_it_names(data: st.DataObject) -> None:
    with closing(Mappings()) as mappings, closing(Ring(4096)) as ring:
        assert ring.open(100) is not None
        true = ring.commit(100).encode()
        encoded = data.draw(st.binary(max_size=60) | damaged(true))
        payload = mappings.payload(encoded)
        with suppress(ProtocolError):
            mappings.accept(encoded, b"a token.")
        if not isinstance(payload, str):
            notice = Notice.decode(encoded)
            assert notice.token == Notice.decode(true).token
            assert len(payload.memory) == notice.nbytes <= 4096
            payload.release()


@given(st.text() | st.from_regex(r"[0-9]{1,12}\.[0-9]{1,12}\.[0-9a-f]{0,20}", fullmatch=True))
def test_a_probe_of_anything_is_read_by_nobody(probe: str) -> None:
    assert read_probe(probe) is None
    assert read_probe(split_endpoint(f"tcp://here:1#{probe}")[1]) is None


# -- files ------------------------------------------------------------------------------------------------------------


@IN_ONE_FOLDER
@given(st.data())
def test_a_connection_file_of_anything_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    keys = make_study_keys("control")
    keys.write(tmp_path)
    connection = Connection(
        endpoint="tcp://127.0.0.1:1",
        server_endpoint="tcp://127.0.0.1:2",
        study=keys.study,
        secret=keys.secret,
        launcher_incarnation=1,
        keys=keys.keys("job"),
    )
    write_connection(tmp_path, connection)
    assert read_connection(tmp_path) == connection
    path = tmp_path / data.draw(st.sampled_from(["connection.txt", "job.key"]))
    path.write_bytes(data.draw(st.binary(max_size=200) | damaged(path.read_bytes())))
    told = ""
    try:
        assert isinstance(read_connection(tmp_path), Connection)
        assert isinstance(read_key_pair(tmp_path, "job"), KeyPair)
    except ConfigurationError as error:
        told = str(error)
    assert keys.secret.hex() not in told
    assert keys.pairs["job"].secret not in told


#: A line with bytes that are no UTF-8, and one of more lists than a decoder looks into, each in front of a sound one.
NO_TEXT = st.sampled_from([b'{"at_s":1.0,"event":{"type":"\xff"}}', b'{"at_s":1.0,"x":' + b"[" * 100_000]).map(
    lambda line: line + b'\n{"at_s":1.0,"event":{"type":"StudyStarted"}}\n'
)


@IN_ONE_FOLDER
@given(st.data())
def test_a_journal_of_anything_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / JOURNAL_FILE
    path.unlink(missing_ok=True)
    with Journal(tmp_path) as journal:
        for number in range(3):
            message = say.Goodbye(simulation=number, attempt=1, num_steps=2, parts_sent=(1,))
            journal.append(Entry(at_s=number, event=ev.Said(address=ClientRank("job-0001"), message=message)))
    path.write_bytes(data.draw(st.binary(max_size=200) | damaged(path.read_bytes()) | NO_TEXT))
    with suppress(ConfigurationError):
        for entry in read_journal(tmp_path):
            assert isinstance(entry, Entry)


def test_a_header_of_the_largest_numbers_takes_no_memory() -> None:
    """A box of 2**64 to the power of 8 elements: a number, and nothing is made for it."""
    from melissa_like.protocol.wire import FIXED_NBYTES, decode

    golden = (Path(protocol.__file__).parent / "golden" / "data_part_2d.bin").read_bytes()
    numbers = struct.pack("<16Q", *[2**64 - 1] * 16)
    header = golden[:71] + b"\x08" + golden[72:FIXED_NBYTES] + numbers
    with pytest.raises(ProtocolError, match="announces"):
        decode(header)
