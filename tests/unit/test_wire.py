"""The data messages are the bytes that protocol/README.md specifies; the golden vectors hold both to it."""

import json
import math
import struct
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like import protocol
from melissa_like.errors import ProtocolError
from melissa_like.protocol import control
from melissa_like.protocol.control import OtherVersionError, decode_envelope, encode_envelope
from melissa_like.protocol.link import refusal_of_version
from melissa_like.protocol.wire import FIXED_NBYTES, Header, Kind, decode, encode
from melissa_like.records import MAX_DIMENSIONS, STORAGE_DTYPES, Box, Purpose, StudyIdentity
from melissa_like.transport.bundles import Bundle, OpenedBundle

GOLDEN = Path(protocol.__file__).parent / "golden"


def header_of(said: dict[str, Any]) -> Header:
    """The header that a golden file describes in words."""
    return Header(
        kind=Kind[said["kind"]],
        purpose=Purpose[said["purpose"]],
        study=bytes.fromhex(said["study"]),
        secret=bytes.fromhex(said["secret"]),
        time=math.nan if said["time"] is None else said["time"],
        box=Box(tuple(said["offset"]), tuple(said["shape"])),
        **{
            name: said[name]
            for name in (
                "launcher_incarnation",
                "server_incarnation",
                "simulation",
                "attempt",
                "client_rank",
                "num_client_ranks",
                "layout_id",
                "field_id",
                "dtype_code",
                "step",
            )
        },
    )


def same(one: Header, other: Header) -> bool:
    def comparable(header: Header) -> dict[str, Any]:
        return {**asdict(header), "time": repr(header.time)}

    return comparable(one) == comparable(other)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("data_*.json")))
def test_golden_headers(name: str) -> None:
    said = header_of(json.loads((GOLDEN / f"{name}.json").read_text()))
    encoded = (GOLDEN / f"{name}.bin").read_bytes()
    assert encode(said) == encoded
    assert same(decode(encoded), said)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("control_*.bin")))
def test_golden_control_messages(name: str) -> None:
    encoded = (GOLDEN / f"{name}.bin").read_bytes()
    envelope = decode_envelope(encoded)
    assert encode_envelope(envelope) == encoded
    said = json.loads((GOLDEN / f"{name}.json").read_text())
    assert (type(envelope.message).__name__, envelope.number, envelope.acknowledged) == (
        said["type"],
        said["number"],
        said["acknowledged"],
    )
    for key, value in said["message"].items():
        assert json.loads(msgspec.json.encode(getattr(envelope.message, key))) == value


def test_version_1_is_answered_in_version_1() -> None:
    asked, answer = ((GOLDEN / f"version_1_{name}.bin").read_bytes() for name in ("hello", "refused"))
    with pytest.raises(OtherVersionError, match="of version 1, this side speaks 2") as refused:
        decode_envelope(asked)
    identity = StudyIdentity(study=bytes(range(16)), secret=bytes(range(240, 256)))
    assert refusal_of_version(refused.value, identity) == answer
    assert msgspec.msgpack.decode(answer)["version"] == msgspec.msgpack.decode(asked)["version"] == 1


def test_the_golden_bundle() -> None:
    said = json.loads((GOLDEN / "bundle.json").read_text())["parts"]
    index, body = ((GOLDEN / f"bundle_{frame}.bin").read_bytes() for frame in ("index", "body"))
    headers = [(GOLDEN / f"{part['header']}.bin").read_bytes() for part in said]
    payloads = [bytes(number % 251 for number in range(part["payload_nbytes"])) for part in said]

    def fill(payload: bytes, memory: memoryview) -> None:
        memory[:] = payload

    memory = bytearray(4096)
    bundle = Bundle(memoryview(memory))
    for header, payload in zip(headers, payloads, strict=True):
        bundle.add(header, len(payload), partial(fill, payload))
    assert bundle.frames == (b"", index)
    assert bytes(memory[: bundle.nbytes]) == body

    opened = OpenedBundle(index, memoryview(body), lambda: None)
    for header, payload in zip(headers, payloads, strict=True):
        target = bytearray(len(payload))
        received = opened.take(lambda _, target=target: memoryview(target))  # type: ignore[misc]
        assert (received.header, received.nbytes, received.fault) == (header, len(payload), None)
        assert target == payload


@pytest.mark.parametrize(
    "message",
    [
        control.Failure(simulation=0, attempt=1, message="no file \udcff"),
        control.Stop(reason="\ud800"),
        control.ServerFailed(message="a network\udc00"),
        control.Metrics(more={"\udcff": 1.0}),
    ],
)
def test_every_text_can_be_sent(message: control.ControlMessage) -> None:
    envelope = control.Envelope(
        version=control.CONTROL_VERSION,
        study=b"\xff" * 16,
        secret=bytes(16),
        launcher_incarnation=1,
        number=1,
        acknowledged=0,
        message=message,
    )
    received = decode_envelope(encode_envelope(envelope))
    assert received.study == envelope.study
    assert type(received.message) is type(message)
    assert "\\ud" in str(received.message)


def test_there_are_golden_vectors() -> None:
    assert len(list(GOLDEN.glob("data_*.bin"))) >= 3
    assert len(list(GOLDEN.glob("control_*.bin"))) >= 4


headers = st.integers(1, MAX_DIMENSIONS).flatmap(
    lambda n: st.builds(
        Header,
        kind=st.sampled_from([kind for kind in Kind if kind is not Kind.INDEX]),
        purpose=st.sampled_from(Purpose),
        study=st.binary(min_size=16, max_size=16),
        secret=st.binary(min_size=16, max_size=16),
        launcher_incarnation=st.integers(0, 2**32 - 1),
        server_incarnation=st.integers(0, 2**32 - 1),
        simulation=st.integers(0, 2**32 - 1),
        attempt=st.integers(0, 2**32 - 1),
        client_rank=st.integers(0, 2**32 - 1),
        num_client_ranks=st.integers(0, 2**32 - 1),
        layout_id=st.integers(0, 2**32 - 1),
        field_id=st.integers(0, 2**16 - 1),
        dtype_code=st.integers(0, len(STORAGE_DTYPES) - 1),
        step=st.integers(0, 2**64 - 1),
        time=st.floats(),
        box=st.builds(
            Box,
            st.tuples(*[st.integers(0, 2**63)] * n),
            st.tuples(*[st.integers(0, 100)] * n),
        ),
    )
)


@given(headers)
def test_decode_is_the_inverse_of_encode(header: Header) -> None:
    assert same(decode(encode(header)), header)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused_and_never_anything_else(encoded: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(encoded)


@given(headers, st.data())
def test_a_damaged_header_is_refused_or_decoded(header: Header, data: st.DataObject) -> None:
    damaged = bytearray(encode(header))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ProtocolError):
        assert isinstance(decode(bytes(damaged)), Header)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-1], "bytes for 2 dimensions"),
        (lambda b: b + b"x", "bytes for 2 dimensions"),
        (lambda b: b[:50], "the fixed part alone"),
        (lambda b: b"XXXX" + b[4:], "install the same release"),
        (lambda b: b[:4] + struct.pack("<H", 1) + b[6:], "version 1, expected b'MLPT' and 2: install the same release"),
        (lambda b: b[:6] + b"\x09" + b[7:], "kind 9"),
        (lambda b: b[: FIXED_NBYTES - 8] + struct.pack("<Q", 5) + b[FIXED_NBYTES:], "announces 5 bytes"),
    ],
)
def test_each_mistake_is_named(damage: Any, words: str) -> None:
    encoded = (GOLDEN / "data_part_2d.bin").read_bytes()
    with pytest.raises(ProtocolError, match=words):
        decode(damage(encoded))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:70] + b"\x03" + b[71:88] + struct.pack("<Q", 4 * 406) + b[96:],
        lambda b: b[:96] + struct.pack("<Q", 1) + b[104:],
        lambda b: b[:71] + b"\x02" + b[72:96] + struct.pack("<4Q", 0, 0, 406, 1),
    ],
    ids=["dtype", "offset", "dimensions"],
)
def test_an_index_list_is_one_row_of_int64(damage: Any) -> None:
    encoded = (GOLDEN / "data_index.bin").read_bytes()
    with pytest.raises(ProtocolError, match="an index list with"):
        decode(damage(encoded))
