"""What only the ZeroMQ transport does: rings in shared memory, bundles, and messages of strangers."""

import fcntl
import os
import re
import resource
import signal
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from melissa_like.transport.shared_memory import Mappings, Notice, Ring, can_share, split_endpoint
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import DEADLINE_S, filling, receive


def test_zmq_foreign_messages_are_faults() -> None:
    """Whatever another program writes to the port."""
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=4)) as receiver:
        context = zmq.Context()
        stranger = context.socket(zmq.PUSH)
        stranger.connect(split_endpoint(receiver.endpoint)[0])
        stranger.send(b"one frame")
        stranger.send_multipart([b"header", b"123", b"more", b"and more"])
        stranger.send_multipart([b""])
        stranger.send_multipart([b"", b"index"])
        stranger.send_multipart([b"", b"", b""])
        stranger.send_multipart([b"", b"index", b"body"])
        stranger.send_multipart([b"", struct.pack("<II", 1, 2**31) + b"h", b"body"])
        stranger.send_multipart([b"", struct.pack("<II", 2**31, 4) + b"h", b"body"])
        stranger.send_multipart([b"", struct.pack("<II", 1, 4) + b"h", b"", b"notice"])
        stranger.send_multipart([b"", b"1", b"2", b"3", b"4"])
        stranger.send_multipart([b"header", b"456"])
        received, _ = receive(receiver, 3)
        assert received is not None
        assert received.fault == "the message has no payload frame"
        received, _ = receive(receiver, 3)
        assert received is not None
        assert received.fault == "the message has a third frame that is no notice of shared memory"
        nobody = Notice(token=b"t" * 8, pid=os.getpid(), descriptor=0, capacity=64, position=0, nbytes=3)
        stranger.send_multipart([b"header", b"", nobody.encode()])
        for _ in range(8):
            received, _ = receive(receiver, 3)
            assert received is not None
            assert re.search("bundle of [125] frames|index of .* bytes|no notice", received.fault or "")
        assert receive(receiver, 3)[1] == b"456"
        received, _ = receive(receiver, 3)
        assert received is not None
        assert received.fault is not None
        assert "cannot be opened" in received.fault
        stranger.close(linger=0)
        context.term()


def test_a_process_may_open_as_many_connections_as_the_system_lets_it() -> None:
    with closing(ZmqTransport()):
        present, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert present >= min(most, 2**16)


@pytest.mark.parametrize("nbytes", [0, 4])
def test_headers_count_as_in_flight(nbytes: int) -> None:
    """Of the smallest payloads they are nearly all; nobody takes anything here, not even the system's buffers."""
    with closing(ZmqTransport(shares_memory=False)) as transport:
        sender = transport.part_sender(["tcp://127.0.0.1:1"], budget_bytes=2**20)
        header = bytes(112)
        sent = 0
        while sender.send(0, header, nbytes, filling(bytes(nbytes)), 0.0):
            sent += 1
            assert sent * len(header) < 2**20, "nothing bounds the bytes in flight"
        assert sent * len(header) > 2**18
        sender.close(0.0)


def rings_mapped() -> int:
    return len(set(re.findall(r"(\d+) +/memfd:melissa_like_ring", Path("/proc/self/maps").read_text())))


KILLED = """
import os, signal, sys
from melissa_like.transport.zmq_transport import ZmqTransport
sender = ZmqTransport().part_sender([sys.argv[1]], budget_bytes=2**20)
assert sender.send(0, b"h", 100_000, lambda memory: None, 10.0)
assert sender.flush(10.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_client_leaves_no_memory_behind() -> None:
    before = set(Path("/dev/shm").iterdir())
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        for _ in range(3):
            client = subprocess.Popen([sys.executable, "-c", KILLED, receiver.endpoint])
            received, _ = receive(receiver, 100_000)
            assert received is not None
            assert received.fault is None
            assert client.wait(DEADLINE_S) == -signal.SIGKILL
        assert rings_mapped() == 1, "only the last one, which nobody has followed yet"
    assert rings_mapped() == 0
    assert set(Path("/dev/shm").iterdir()) == before


def test_memory_is_shared_only_with_whom_can_open_it() -> None:
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        _, probe = split_endpoint(receiver.endpoint)
        assert can_share(probe)
        other_token = probe[:-1] + ("0" if probe[-1] != "0" else "1")
        for elsewhere in ("", other_token, "0.0.00", "no probe", probe.replace(str(os.getpid()), str(2**22))):
            assert not can_share(elsewhere)
    with closing(ZmqTransport(shares_memory=False)) as transport:
        receiver = transport.part_receiver(queue_length=8)
        assert split_endpoint(receiver.endpoint) == (receiver.endpoint, "")
        receiver.close()


def ring_file(capacity: int) -> tuple[int, bytes]:
    """Descriptor and token of a memory file that passes for a ring."""
    descriptor = os.memfd_create("melissa_like_ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096 + capacity)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    os.pwrite(descriptor, b"a token.", 0)
    return descriptor, b"a token."


@pytest.mark.parametrize(
    ("capacity", "position", "why"),
    [(0, 0, "no ring"), (4096, 2**64 - 64, "not inside"), (4096, 4032, "not inside")],
)
def test_a_notice_of_what_cannot_be_is_a_fault(capacity: int, position: int, why: str) -> None:
    with closing(Mappings()) as mappings:
        descriptor, token = ring_file(capacity)
        notice = Notice(token, os.getpid(), descriptor, capacity, position, 65 if position == 4032 else 0)
        payload = mappings.payload(notice.encode())
        os.close(descriptor)
        assert isinstance(payload, str)
        assert why in payload


@pytest.mark.parametrize("index", [b"bad", bytes(2**20 + 8)])
def test_a_refused_index_holds_no_room_in_the_ring(index: bytes) -> None:
    with closing(ZmqTransport()) as transport, zmq.Context() as context, closing(Ring(4096)) as ring:
        receiver = transport.part_receiver(queue_length=4, max_nbytes=2**24)
        stranger = context.socket(zmq.PUSH)
        stranger.connect(split_endpoint(receiver.endpoint)[0])
        assert ring.open(0) is not None
        stranger.send_multipart([b"", index, b"", ring.commit(0).encode()])
        received, _ = receive(receiver, 3)
        assert received is not None
        assert "an index of" in (received.fault or "")
        assert ring.is_read
        stranger.close(0)
        receiver.close()


def test_a_ring_refuses_what_would_overwrite_the_unread() -> None:
    with closing(Ring(256)) as ring:
        for position in (0, 128):
            memory = ring.open(100)
            assert memory is not None
            memory.release()
            assert ring.commit(100).position == position
        assert ring.open(1) is None
        assert not ring.is_read


@pytest.mark.parametrize("nbytes", [0, 1])
@pytest.mark.parametrize("notice_nbytes", [0, 100_000])
def test_a_ring_bounds_the_notices_that_wait(nbytes: int, notice_nbytes: int) -> None:
    with closing(Ring(2**24)) as ring:
        sent = 0
        while (memory := ring.open(nbytes)) is not None:
            memory.release()
            ring.commit(nbytes, notice_nbytes)
            sent += 1
            assert sent * (notice_nbytes + 512) < 2**23
        assert sent > 1
        assert not ring.is_read
