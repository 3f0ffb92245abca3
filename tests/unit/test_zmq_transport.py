"""What only the ZeroMQ transport does: rings in shared memory, bundles, and messages of strangers."""

import errno
import fcntl
import itertools
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq

from melissa_like.errors import TransportError
from melissa_like.transport import Door, Peer
from melissa_like.transport.shared_memory import Mappings, Notice, Probe, Ring, read_probe, split_endpoint
from melissa_like.transport.zmq_sockets import tcp_address
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import DEADLINE_S, acquaint, filling, receive, send


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


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost", "127.0.0.1", "0.0.0.0"])
def test_every_kind_of_address(host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with closing(ZmqTransport(host, shares_memory=False)) as transport:
        server, receiver = transport.control_server(), transport.part_receiver(queue_length=4)
        if ":" in host:
            assert server.endpoint.startswith("tcp://[::1]:")
        client = transport.control_client(server.endpoint, b"name")
        client.send(b"hello")
        assert server.receive(DEADLINE_S) == (Peer(Door.JOBS, b"name"), b"hello")
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
        acquaint(sender, receiver)
        for end in (client, server, sender):
            end.close(0.0)
        receiver.close()
    with closing(ZmqTransport(host)) as transport:  # a socket has let its port go when its context is gone
        again = transport.control_server(tcp_address(host, int(server.endpoint.rpartition(":")[2])))
        assert again.endpoint == server.endpoint
        again.close(0.0)


def test_a_name_with_addresses_of_both_kinds_and_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    six, four = (socket.AF_INET6, 1, 6, "", ("fd00::5", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("10.0.0.5", 0))
    for found, address in (([six, four], "tcp://10.0.0.5:7"), ([six], "tcp://[fd00::5]:7")):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=found, **__: found)
        assert tcp_address("a-node", 7) == address


@pytest.mark.parametrize("host", ["no.such.host.invalid", "", "::g", "192.0.2.1", "*", "2001:db8::1"])
def test_a_host_that_is_not_this_machine(host: str) -> None:
    with closing(ZmqTransport(host)) as transport, pytest.raises(TransportError, match=r"transport\.host"):
        transport.control_server()


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
from melissa_like.transport import Door, Peer
from melissa_like.transport.zmq_transport import ZmqTransport
sender = ZmqTransport().part_sender([sys.argv[1]], budget_bytes=2**20)
for nbytes in (0, 100_000):
    assert sender.send(0, b"h", nbytes, lambda memory: None, 10.0)
    assert sender.flush(10.0)
    sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_client_leaves_no_memory_behind() -> None:
    before = set(Path("/dev/shm").iterdir())
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        for _ in range(3):
            client = subprocess.Popen([sys.executable, "-c", KILLED, receiver.endpoint], stdin=subprocess.PIPE)
            assert client.stdin is not None
            for nbytes in (0, 100_000):
                received, _ = receive(receiver, nbytes)
                assert received is not None
                assert received.fault is None
                client.stdin.write(b"\n")
                client.stdin.flush()
            assert client.wait(DEADLINE_S) == -signal.SIGKILL
            client.stdin.close()
        assert rings_mapped() == 1, "only the last one, which nobody has followed yet"
    assert rings_mapped() == 0
    assert set(Path("/dev/shm").iterdir()) == before


def test_a_ring_is_offered_only_to_whose_memory_can_be_read(tmp_path: Path) -> None:
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        _, probe = split_endpoint(receiver.endpoint)
        pid, descriptor, token = probe.split(".")
        assert read_probe(probe) == bytes.fromhex(token)
        other_token = probe[:-1] + ("0" if probe[-1] != "0" else "1")
        for elsewhere in ("", other_token, "0.0.00", "no probe", f"{2**22}.{descriptor}.{token}"):
            assert read_probe(elsewhere) is None
        os.mkfifo(tmp_path / "pipe")  # what has this number in another container; to open it would block
        pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        assert read_probe(f"{pid}.{pipe}.{token}") is None
        os.close(pipe)
    with closing(ZmqTransport(shares_memory=False)) as transport:
        receiver = transport.part_receiver(queue_length=8)
        assert split_endpoint(receiver.endpoint) == (receiver.endpoint, "")
        receiver.close()


@pytest.fixture
def pull() -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.RCVTIMEO, int(1000 * DEADLINE_S))
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def test_nothing_is_written_into_a_ring_before_the_proof(pull: "zmq.Socket[bytes]") -> None:
    """A server rank that follows the protocol by hand, and takes its time."""
    with closing(Probe()) as probe, closing(Mappings()) as mappings, closing(ZmqTransport()) as transport:
        endpoint = probe.extend(pull.getsockopt_string(zmq.LAST_ENDPOINT))
        sender = transport.part_sender([endpoint], budget_bytes=2**20)
        for _ in range(3):
            assert send(sender, b"large", bytes(300_000))
        assert send(sender, b"small", b"123")
        *empty, offer = pull.recv_multipart()
        assert empty == [b"", b"", b""]
        assert [len(frame) for _ in range(3) for frame in pull.recv_multipart()] == [5, 300_000] * 3
        assert pull.recv_multipart()[0::2] == [b"", b"123"]
        assert mappings.accept(offer, b"other pr") is None
        assert send(sender, b"large", bytes(300_000))
        assert len(pull.recv_multipart()) == 2, "another's token is no proof"
        assert mappings.accept(offer, probe.token) is None
        assert send(sender, b"large", b"4" * 300_000)
        header, empty_frame, notice = pull.recv_multipart()
        payload = mappings.payload(notice)
        assert not isinstance(payload, str)
        assert (header, empty_frame, bytes(payload.memory)) == (b"large", b"", b"4" * 300_000)
        payload.release()
        sender.close(0.0)


def test_a_ring_of_another_user_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Mappings()) as mappings, closing(Ring(4096)) as ring:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert "no ring of this user" in str(mappings.accept(ring.offer().encode(), b"a token."))
        assert not ring.is_proven(b"a token.")


def no_memory(*arguments: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def only(num_times: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls = itertools.count()
    return lambda *arguments: function(*arguments) if next(calls) < num_times else no_memory()


@pytest.mark.parametrize(
    ("name", "patch", "why"),
    [
        ("memfd_create", no_memory, "No space left"),  # not even the probe
        ("ftruncate", no_memory, "No space left"),  # as under `ulimit -f`
        ("posix_fallocate", no_memory, "No space left"),
        ("posix_fallocate", only(2, os.posix_fallocate), "No space left"),  # while the ring is in use
        ("readlink", only(1, os.readlink), "cannot be opened"),  # the server rank may not look
    ],
)
def test_what_cannot_be_shared_travels_over_tcp(
    name: str, patch: Callable[..., Any], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, name, patch)
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**23)
        acquaint(sender, receiver)
        for number in range(12):
            assert send(sender, b"%d" % number, bytes([number]) * 400_000)
            received, payload = receive(receiver, 400_000)
            assert received is not None
            assert (received.header, received.fault) == (b"%d" % number, None)
            assert payload == bytes([number]) * 400_000
        assert sender.flush(DEADLINE_S)
        sender.close(0.0)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert why in told[0]
    assert "TCP" in told[0]


UNSEEN_CLIENT = """
import ctypes, sys
assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE
from melissa_like.transport import Door, Peer
from melissa_like.transport.zmq_transport import ZmqTransport
sender = ZmqTransport().part_sender([sys.argv[1]], budget_bytes=2**20)
for number in range(20):
    def fill(memory):
        memory[:] = bytes([number]) * len(memory)
    assert sender.send(0, b"h", 1000 * number, fill, 10.0)
    sender.push()
assert sender.flush(10.0)
sys.stdin.read()  # its memory can be looked for until the server rank has all
sender.close(10.0)
"""
BLIND_SERVER_RANK = """
import ctypes, subprocess, sys
from pathlib import Path
from melissa_like.transport import Door, Peer
from melissa_like.transport.zmq_transport import ZmqTransport

CAP_SYS_PTRACE = 1 << 19
libc = ctypes.CDLL(None, use_errno=True)
version, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(version, sets) == 0
sets[0] &= ~CAP_SYS_PTRACE
sets[1] &= ~CAP_SYS_PTRACE
assert libc.capset(version, sets) == 0, ctypes.get_errno()

receiver = ZmqTransport().part_receiver(queue_length=8)
client = subprocess.Popen([sys.executable, "-c", sys.argv[1], receiver.endpoint], stdin=subprocess.PIPE)
for number in range(20):
    memory = bytearray(1000 * number)
    received = receiver.receive(lambda header: memoryview(memory), 10.0)
    assert received is not None and received.fault is None, received
    assert memory == bytes([number]) * len(memory)
try:
    Path(f"/proc/{client.pid}/fd/0").readlink()
    print("seen")
except PermissionError:
    print("unseen")
client.communicate(timeout=10.0)
assert client.returncode == 0
assert "melissa_like_ring" not in Path("/proc/self/maps").read_text()
"""


def test_a_client_that_must_not_be_inspected_sends_over_tcp() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BLIND_SERVER_RANK, UNSEEN_CLIENT], capture_output=True, text=True, timeout=60
    )
    if ran.stdout == "seen\n":
        pytest.skip("this system lets every process of a user be inspected, dumpable or not")
    assert (ran.returncode, ran.stdout) == (0, "unseen\n"), ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert re.search("cannot be opened .*Permission denied.*TCP", ran.stderr)


FORKED = """
import os, sys, warnings
from melissa_like.errors import TransportError
from melissa_like.transport import Door, Peer
from melissa_like.transport.zmq_transport import ZmqTransport

transport = ZmqTransport()
server, receiver = transport.control_server(), transport.part_receiver(queue_length=8)
client = transport.control_client(server.endpoint, b"name")
sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)


def send(byte):
    assert sender.send(0, b"h", 5, lambda memory: memory.__setitem__(slice(5), byte * 5), 10.0)
    sender.push()


def arrives(byte):
    place = bytearray(5)
    received = receiver.receive(lambda header: memoryview(place), 10.0)
    assert received is not None and received.fault is None
    assert place == byte * 5, place


for _ in range(2):
    send(b"a")
    arrives(b"a")
assert sender.send(0, b"h", 5, lambda memory: memory.__setitem__(slice(5), b"bbbbb"), 10.0)  # held
child = os.fork()
if not child:
    refused = 0
    for use in (lambda: send(b"x"), sender.push, lambda: client.send(b"x"), lambda: client.receive(0.1)):
        try:
            use()
        except TransportError as error:
            refused += "was forked from process" in str(error)
    sender.close(1.0)
    client.close(1.0)
    transport.close()
    os._exit(refused)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
send(b"c")
arrives(b"b")
arrives(b"c")
client.send(b"still here")
assert server.receive(10.0)[1] == b"still here"
sender.close(1.0)
for end in (client, server):
    end.close(0.0)
receiver.close()
transport.close()
"""


def test_a_forked_process_is_refused_and_harms_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_part_that_is_lost_with_a_ring_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring was lost after it had been proven, so that what its bundle held is known by its index alone."""
    with closing(ZmqTransport()) as transport, closing(transport.part_receiver(queue_length=8)) as receiver:
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
        acquaint(sender, receiver)
        for name in (b"one", b"two"):
            assert sender.send(0, name, 5, filling(b"12345"), DEADLINE_S)
        sender.push()
        monkeypatch.setattr(os, "readlink", no_memory)
        receiver._mappings.close()  # type: ignore[attr-defined]
        asked: list[bytes] = []
        for name in (b"one", b"two"):
            received = receiver.receive(asked.append, DEADLINE_S)
            assert received is not None
            assert received.header == name
            assert "cannot be opened" in (received.fault or "")
        assert asked == [b"one", b"two"]
        sender.close(0.0)


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
