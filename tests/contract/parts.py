"""Sending and receiving one part, for the tests of transports."""

from collections.abc import Callable

from melissa_like.transport import PartReceiver, PartSender, Received

SHORT_S = 0.05
DEADLINE_S = 20.0


def filling(values: bytes) -> Callable[[memoryview], None]:
    def fill(memory: memoryview) -> None:
        memory[:] = values

    return fill


def send(
    sender: PartSender, header: bytes, payload: bytes, *, destination: int = 0, timeout_s: float = DEADLINE_S
) -> bool:
    sent = sender.send(destination, header, len(payload), filling(payload), timeout_s)
    sender.push()
    return sent


def receive(receiver: PartReceiver, nbytes: int, timeout_s: float = DEADLINE_S) -> tuple[Received | None, bytes]:
    memory = bytearray(nbytes)
    received = receiver.receive(lambda header: memoryview(memory), timeout_s)
    return received, bytes(memory)


def acquaint(sender: PartSender, receiver: PartReceiver) -> None:
    """From now on they share memory, if they can: the offer travels in front of the first part."""
    assert send(sender, b"first", b"")
    received, _ = receive(receiver, 0)
    assert received is not None
    assert received.fault is None
