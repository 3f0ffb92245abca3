"""What every transport keeps: parts arrive in order and in place, bytes in flight are bounded, every wait ends."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from melissa_like.errors import TransportError
from melissa_like.protocol.keys import Credentials, Keys
from melissa_like.transport import Door, Peer, Transport
from melissa_like.transport.admission import make_key_pair
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import DEADLINE_S, SHORT_S, acquaint, filling, receive, send


def credentials(encryption: str) -> Credentials:
    """Of a process that is everything at once: it shows itself the keys of all."""
    pair = make_key_pair()
    keys = Keys(launcher=pair.public, server=pair.public, job=pair.public, own=pair, encrypts_data=encryption == "all")
    return Credentials(study=b"s" * 16, secret=b"k" * 16, keys=None if encryption == "none" else keys)


TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "memory": MemoryTransport,
    "zmq": lambda: ZmqTransport(shares_memory=False),
    "shared memory": ZmqTransport,
    "zmq with a secret": lambda: ZmqTransport(shares_memory=False, credentials=credentials("none")),
    "zmq encrypted": lambda: ZmqTransport(shares_memory=False, credentials=credentials("all")),
    "shared memory encrypted": lambda: ZmqTransport(credentials=credentials("all")),
}


def job(name: bytes) -> Peer:
    """A peer at the door of jobs."""
    return Peer(Door.JOBS, name)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    with closing(TRANSPORTS[request.param]()) as made:
        yield made


def test_parts_arrive_in_order_and_in_their_place(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=64)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    for number in range(20):
        assert send(sender, b"h%d" % number, bytes([number]) * number)
    for number in range(20):
        place = np.full(30, 255, np.uint8)
        received = receiver.receive(lambda header, n=number, p=place: memoryview(p)[5 : 5 + n], DEADLINE_S)  # type: ignore[misc]
        assert received is not None
        assert (received.header, received.nbytes, received.fault) == (b"h%d" % number, number, None)
        assert place.tolist() == [255] * 5 + [number] * number + [255] * (25 - number)
    sender.close(0.0)
    receiver.close()


def test_the_array_may_be_reused_at_once(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=64)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**24)
    acquaint(sender, receiver)
    array = np.empty(100_000, np.uint8)
    for number in range(10):
        array[:] = number
        assert sender.send(
            0, b"h", array.nbytes, lambda memory: memory.__setitem__(slice(None), array.data), DEADLINE_S
        )
        array[:] = 77
    sender.push()
    for number in range(10):
        received, payload = receive(receiver, array.nbytes)
        assert received is not None
        assert payload == bytes([number]) * array.nbytes
    sender.close(0.0)
    receiver.close()


@pytest.mark.parametrize("nbytes", [2**14, 2**16, 2**23])
def test_a_full_budget_makes_send_wait_and_succeed_later(transport: Transport, nbytes: int) -> None:
    """The system's own socket buffers hold some megabytes besides."""
    receiver = transport.part_receiver(queue_length=1)
    budget_bytes = 2**24
    sender = transport.part_sender([receiver.endpoint], budget_bytes=budget_bytes)
    acquaint(sender, receiver)
    payload = bytes(nbytes)
    sent = 0
    while send(sender, b"%d" % sent, payload, timeout_s=0.5):
        sent += 1
        assert sent * nbytes < 6 * budget_bytes, "nothing bounds the bytes in flight"
    calls: list[int] = []
    assert not sender.send(0, b"x", nbytes, lambda memory: calls.append(1), SHORT_S)
    assert not calls  # what was not sent was not asked for

    received, _ = receive(receiver, nbytes)
    assert received is not None
    assert received.header == b"0"
    results: list[bool] = []
    blocked = threading.Thread(target=lambda: results.append(send(sender, b"last", payload)))
    blocked.start()
    for _ in range(sent):
        received, _ = receive(receiver, nbytes)
        assert received is not None
    blocked.join(DEADLINE_S)
    assert results == [True]
    assert received.header == b"last"
    assert sender.flush(DEADLINE_S)
    sender.close(0.0)
    receiver.close()


def test_a_message_larger_than_the_budget_goes_alone(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=10)
    acquaint(sender, receiver)
    for number in range(3):
        thread = threading.Thread(target=send, args=(sender, b"h", bytes([number]) * 1000))
        thread.start()
        received, payload = receive(receiver, 1000)
        thread.join(DEADLINE_S)
        assert received is not None
        assert payload == bytes([number]) * 1000
    sender.close(0.0)
    receiver.close()


@pytest.mark.parametrize("shape", [(3, 4), (200, 300)])
def test_a_place_may_be_a_view_of_any_strides(transport: Transport, shape: tuple[int, int]) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    field = np.zeros((2 * shape[0], 2 * shape[1]), np.float32)
    for place in (field[: shape[0], shape[1] :], field[shape[0] :, : 2 * shape[1] : 2]):
        send(sender, b"h", values.tobytes())
        received = receiver.receive(lambda header, place=place: place, DEADLINE_S)  # type: ignore[misc]
        assert received is not None
        assert (received.nbytes, received.fault) == (values.nbytes, None)
        np.testing.assert_array_equal(place, values)
    assert np.count_nonzero(field) == 2 * (values.size - 1)
    send(sender, b"h", b"12345")
    received = receiver.receive(lambda header: field[:1, :2], DEADLINE_S)
    assert received is not None
    assert received.fault == "the payload has 5 bytes, 8 were expected"
    sender.close(0.0)
    receiver.close()


def test_a_payload_can_be_discarded(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    send(sender, b"unwanted", b"12345")
    send(sender, b"wanted", b"678")
    received = receiver.receive(lambda header: None, DEADLINE_S)
    assert received is not None
    assert (received.nbytes, received.fault) == (5, None)
    assert receive(receiver, 3)[1] == b"678"
    sender.close(0.0)
    receiver.close()


@pytest.mark.parametrize("announced", [2, 9])
def test_a_payload_of_another_length_is_a_fault_and_harms_nothing_else(transport: Transport, announced: int) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    send(sender, b"wrong", b"12345")
    send(sender, b"right", b"678")
    received, _ = receive(receiver, announced)
    assert received is not None
    assert received.fault == f"the payload has 5 bytes, {announced} were expected"
    received, payload = receive(receiver, 3)
    assert received is not None
    assert (received.fault, payload) == (None, b"678")
    sender.close(0.0)
    receiver.close()


def test_an_exception_in_place_consumes_the_message(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**23)
    acquaint(sender, receiver)
    send(sender, b"a", b"1")
    send(sender, b"b", b"2")

    def refuse(header: bytes) -> None:
        raise ArithmeticError("no place")

    with pytest.raises(ArithmeticError):
        receiver.receive(refuse, DEADLINE_S)
    assert receive(receiver, 1)[1] == b"2"
    send(sender, b"large", bytes(2**20))
    with pytest.raises(ArithmeticError):
        receiver.receive(refuse, DEADLINE_S)
    assert sender.flush(DEADLINE_S), "it has not given its room back"
    sender.close(0.0)
    receiver.close()


def test_empty_payloads_arrive(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    send(sender, b"a", b"")
    received, _ = receive(receiver, 0)
    assert received is not None
    assert (received.header, received.nbytes, received.fault) == (b"a", 0, None)
    sender.close(0.0)
    receiver.close()


def test_many_senders_to_many_receivers(transport: Transport) -> None:
    receivers = [transport.part_receiver(queue_length=8) for _ in range(2)]
    endpoints = [receiver.endpoint for receiver in receivers]

    def produce(number: int) -> None:
        sender = transport.part_sender(endpoints, budget_bytes=2**16)
        for index in range(40):
            assert send(sender, b"%d %d" % (number, index), b"x" * 100, destination=index % 2)
        assert sender.flush(DEADLINE_S)
        sender.close(DEADLINE_S)

    arrived: dict[tuple[int, int], list[int]] = {(rank, number): [] for rank in range(2) for number in range(4)}

    def consume(rank: int) -> None:
        for _ in range(80):
            received, _ = receive(receivers[rank], 100)
            assert received is not None
            number, index = map(int, received.header.split())
            arrived[rank, number].append(index)

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=consume, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert all(indices == list(range(rank, 40, 2)) for (rank, _), indices in arrived.items())
    for receiver in receivers:
        receiver.close()


def test_receive_ends_at_its_deadline_and_when_woken(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    assert receive(receiver, 1, timeout_s=SHORT_S)[0] is None
    timer = threading.Timer(SHORT_S, receiver.wake)
    timer.start()
    started = time.monotonic()
    assert receive(receiver, 1)[0] is None
    assert time.monotonic() - started < DEADLINE_S / 2
    timer.join(DEADLINE_S)
    receiver.close()


def test_closing_with_messages_on_their_way_does_not_hang(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=1)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    for _ in range(3):
        send(sender, b"h", bytes(1000), timeout_s=SHORT_S)
    sender.close(SHORT_S)
    receiver.close()


def test_control_messages_go_both_ways_and_by_name(transport: Transport) -> None:
    server = transport.control_server()
    clients = {name: transport.control_client(server.endpoint, name) for name in (b"one", b"two")}
    for name, client in clients.items():
        client.send(b"hello from " + name)
    heard = dict(filter(None, (server.receive(DEADLINE_S) for _ in clients)))
    assert heard == {job(b"one"): b"hello from one", job(b"two"): b"hello from two"}
    assert server.send(job(b"two"), b"for two")
    assert server.send(job(b"one"), b"for one")
    assert clients[b"one"].receive(DEADLINE_S) == b"for one"
    assert clients[b"two"].receive(DEADLINE_S) == b"for two"
    assert clients[b"one"].receive(SHORT_S) is None
    for client in clients.values():
        client.close(0.0)
    server.close(0.0)


def test_a_name_at_one_door_is_nobody_at_the_other(transport: Transport) -> None:
    """A job that takes the name of a server rank hears nothing that is for it."""
    server = transport.control_server()
    rank = transport.control_client(server.server_endpoint, b"name")
    rank.send(b"from the rank")
    assert server.receive(DEADLINE_S) == (Peer(Door.SERVERS, b"name"), b"from the rank")
    thief = transport.control_client(server.endpoint, b"name")
    thief.send(b"from the thief")
    assert server.receive(DEADLINE_S) == (job(b"name"), b"from the thief")
    assert server.send(Peer(Door.SERVERS, b"name"), b"for the rank")
    assert rank.receive(DEADLINE_S) == b"for the rank"
    assert thief.receive(SHORT_S) is None
    assert server.refused == {}
    for end in (rank, thief, server):
        end.close(0.0)


def test_an_unknown_peer_is_reported_not_dropped(transport: Transport) -> None:
    server = transport.control_server()
    assert not server.send(job(b"nobody"), b"hello?")
    server.close(0.0)


def test_a_name_that_comes_back_gets_the_next_messages(transport: Transport) -> None:
    """A job's rank that opens its line again, or a process that replaces a dead one."""
    server = transport.control_server()
    first = transport.control_client(server.endpoint, b"name")
    first.send(b"1")
    assert server.receive(DEADLINE_S) == (job(b"name"), b"1")
    second = transport.control_client(server.endpoint, b"name")
    second.send(b"2")
    assert server.receive(DEADLINE_S) == (job(b"name"), b"2")
    assert server.send(job(b"name"), b"answer")
    assert second.receive(DEADLINE_S) == b"answer"
    for end in (first, second, server):
        end.close(0.0)


def test_both_control_ends_can_be_woken(transport: Transport) -> None:
    server = transport.control_server()
    client = transport.control_client(server.endpoint, b"name")
    for end in (server, client):
        timer = threading.Timer(SHORT_S, end.wake)
        timer.start()
        started = time.monotonic()
        assert end.receive(DEADLINE_S) is None
        assert time.monotonic() - started < DEADLINE_S / 2
        timer.join(DEADLINE_S)
    client.close(0.0)
    server.close(0.0)


def test_an_address_that_is_taken_is_refused(transport: Transport) -> None:
    server = transport.control_server()
    for taken in ((server.endpoint, None), (None, server.server_endpoint)):
        with pytest.raises(TransportError, match="taken"):
            transport.control_server(*taken)
    server.close(0.0)


def test_flush_waits_for_small_messages_too(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=1)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**26)
    acquaint(sender, receiver)
    sent = 0
    while sent < 2**24 // 4096 and send(sender, b"h", bytes(4096), timeout_s=0.0):  # more than the system's buffers
        sent += 1
    assert not sender.flush(SHORT_S)
    for _ in range(sent):
        assert receive(receiver, 4096)[0] is not None
    assert sender.flush(DEADLINE_S)
    sender.close(0.0)
    receiver.close()


def test_payloads_of_every_size_arrive_whole_and_in_order(transport: Transport) -> None:
    """A small budget, so that memory is used over and over, at every place."""
    receiver = transport.part_receiver(queue_length=8)
    sizes = [random.Random(number).choice((0, 10, 40_000, 70_001, 130_000, 300_000)) for number in range(200)]

    def produce() -> None:
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**19)
        for number, nbytes in enumerate(sizes):
            assert send(sender, b"%d" % number, bytes([number]) * nbytes)
        assert sender.flush(DEADLINE_S)
        sender.close(DEADLINE_S)

    thread = threading.Thread(target=produce)
    thread.start()
    for number, nbytes in enumerate(sizes):
        received, payload = receive(receiver, nbytes)
        assert received is not None
        assert (received.header, received.nbytes, received.fault) == (b"%d" % number, nbytes, None)
        assert payload == bytes([number]) * nbytes
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    receiver.close()


def test_what_is_discarded_makes_room(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=8)

    def produce() -> None:
        sender = transport.part_sender([receiver.endpoint], budget_bytes=2**19)
        for _ in range(20):
            assert send(sender, b"h", bytes(100_000))
        sender.close(DEADLINE_S)

    thread = threading.Thread(target=produce)
    thread.start()
    for _ in range(20):
        received = receiver.receive(lambda header: None, DEADLINE_S)
        assert received is not None
        assert (received.nbytes, received.fault) == (100_000, None)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    receiver.close()


def test_what_is_larger_than_the_limit_is_not_taken(transport: Transport) -> None:
    limit = 2**21
    receiver = transport.part_receiver(queue_length=8, max_nbytes=limit)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**19)
    acquaint(sender, receiver)
    assert send(sender, b"large", bytes(2 * limit))
    other = transport.part_sender([receiver.endpoint], budget_bytes=2**19)
    assert send(other, b"small", bytes(limit))
    received, _ = receive(receiver, limit)
    assert received is not None
    assert (received.header, received.nbytes, received.fault) == (b"small", limit, None)
    sender.close(0.0)
    other.close(0.0)
    receiver.close()


def test_a_payload_as_large_as_the_budget_follows_a_small_one(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=8)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    for nbytes in (10, 2**19, 100, 2**19 - 64, 2**20):
        assert send(sender, b"h", bytes(nbytes))
        received, _ = receive(receiver, nbytes)
        assert received is not None
        assert received.fault is None
    sender.close(0.0)
    receiver.close()


@pytest.mark.parametrize("budget_bytes", [1, 7, 64, 500, 4096])
def test_a_tiny_budget_is_slow_and_no_more(transport: Transport, budget_bytes: int) -> None:
    receiver = transport.part_receiver(queue_length=8)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=budget_bytes)
    acquaint(sender, receiver)
    for nbytes in (0, 1, 4, 16, 0, 64, 5000, 0):
        assert send(sender, b"h", bytes(nbytes))
        received, _ = receive(receiver, nbytes)
        assert received is not None
        assert (received.nbytes, received.fault) == (nbytes, None)
    assert sender.flush(DEADLINE_S)
    sender.close(0.0)
    receiver.close()


def test_a_sender_closes_while_the_interruption_of_a_send_is_handled(transport: Transport) -> None:
    """Its traceback holds the memory that was to be filled."""
    receiver = transport.part_receiver(queue_length=8)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)

    def interrupted(memory: memoryview) -> None:
        raise KeyboardInterrupt

    try:
        sender.send(0, b"h", 5, interrupted, DEADLINE_S)
    except KeyboardInterrupt:
        sender.close(0.0)
    receiver.close()


@pytest.mark.parametrize("num_server_ranks", [1, 4])
def test_a_close_lingers_no_longer_than_it_is_told(transport: Transport, num_server_ranks: int) -> None:
    receivers = [transport.part_receiver(queue_length=8) for _ in range(num_server_ranks)]
    sender = transport.part_sender([receiver.endpoint for receiver in receivers], budget_bytes=2**20)
    for destination in range(num_server_ranks):
        assert send(sender, b"h", bytes(5), destination=destination)
    started = time.monotonic()
    sender.close(0.5)
    assert time.monotonic() - started < 1.5
    for receiver in receivers:
        receiver.close()


def test_small_payloads_travel_together(transport: Transport) -> None:
    """Held until they are pushed, flushed or many; each arrives by itself, in order with the large ones."""
    receiver = transport.part_receiver(queue_length=16)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**23)
    acquaint(sender, receiver)
    sizes = [
        600_000 if number % 5 == 3 else random.Random(number).choice((0, 1, 64, 100, 100_000)) for number in range(100)
    ]
    for number, nbytes in enumerate(sizes):
        assert sender.send(0, b"%d" % number, nbytes, filling(bytes([number]) * nbytes), DEADLINE_S)
        if number % 10 == 9:
            sender.push()
            for earlier in range(number - 9, number + 1):
                received, payload = receive(receiver, sizes[earlier])
                assert received is not None
                assert (received.header, received.fault) == (b"%d" % earlier, None)
                assert payload == bytes([earlier]) * sizes[earlier]
    assert sender.flush(DEADLINE_S)
    sender.close(0.0)
    receiver.close()


def test_a_part_of_a_bundle_that_is_refused_harms_no_other(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=8)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    for number in range(4):
        assert sender.send(0, b"%d" % number, 5, filling(bytes([number]) * 5), DEADLINE_S)

    def give_up(memory: memoryview) -> None:
        raise ArithmeticError("the solver gave up")

    with pytest.raises(ArithmeticError):
        sender.send(0, b"never", 5, give_up, DEADLINE_S)
    sender.push()

    def refuse(header: bytes) -> None:
        raise ArithmeticError("no place")

    with pytest.raises(ArithmeticError):
        receiver.receive(refuse, DEADLINE_S)
    received, _ = receive(receiver, 6)
    assert received is not None
    assert received.fault == "the payload has 5 bytes, 6 were expected"
    received = receiver.receive(lambda header: None, DEADLINE_S)
    assert received is not None
    assert (received.header, received.nbytes, received.fault) == (b"2", 5, None)
    assert receive(receiver, 5)[1] == bytes([3]) * 5
    assert sender.flush(DEADLINE_S)
    assert receive(receiver, 5, timeout_s=SHORT_S)[0] is None
    sender.close(0.0)
    receiver.close()


def test_an_empty_payload_has_left_when_it_is_received(transport: Transport) -> None:
    receiver = transport.part_receiver(queue_length=4)
    sender = transport.part_sender([receiver.endpoint], budget_bytes=2**20)
    acquaint(sender, receiver)
    assert send(sender, b"h", b"")
    received, _ = receive(receiver, 0)
    assert received is not None
    assert (received.header, received.nbytes, received.fault) == (b"h", 0, None)
    assert sender.flush(DEADLINE_S)
    sender.close(0.0)
    receiver.close()
