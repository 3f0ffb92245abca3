"""What a transport gives: parts one way, control messages both ways. Contents are opaque bytes.

Every object belongs to the one thread that uses it, except `wake`, which any thread may call, and to the process that
made it: the ends of a client raise TransportError in one that was forked from it. Every wait has a deadline and sleeps.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, auto
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "ControlClient",
    "ControlServer",
    "Door",
    "PartReceiver",
    "PartSender",
    "Peer",
    "Place",
    "Received",
    "Target",
    "Transport",
    "copy_payload",
]

#: Where a payload goes: contiguous bytes, or an array of any strides, which takes the values in C order.
Target: TypeAlias = memoryview | npt.NDArray[Any]
#: From a header to where its payload goes; None discards the payload.
Place: TypeAlias = Callable[[bytes], Target | None]

_COPIED_BY_SLICE_BYTES = 16 * 1024


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A data message that has arrived.

    Attributes:
        nbytes: of the payload, as it arrived.
        fault: why the payload is not what was placed for it; None if it is, or if it was discarded on purpose.
    """

    header: bytes
    nbytes: int
    fault: str | None = None


class Door(IntEnum):  # of integers, because it is looked up with every message
    """Where a process connects to the launcher: what comes through a door was said by a process of its kind.

    A name says little: whoever connects chooses it, and takes over the messages for it. So the two kinds have doors of
    their own, and a job that calls itself as a server rank does is a stranger at its door and harms nobody at the
    other. A command of the study's user comes through the door of the server ranks, under a name of its own.
    """

    JOBS = auto()
    SERVERS = auto()


class Peer(NamedTuple):
    """Who is connected to the launcher, by the door and the name chosen there."""

    door: Door
    name: bytes


class PartSender(Protocol):
    """Sends data messages to all server ranks; one per client rank."""

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        """Queue a message for a server rank; a small one may be held, to travel with the ones that follow.

        `fill` writes the payload into memory of the transport, so the caller's arrays are free on return. Blocks,
        asleep, while the bytes in flight would exceed the budget; a message larger than the budget goes alone.

        Returns:
            False if there was no room within `timeout_s`: nothing was sent and `fill` was not called.
        """
        ...

    def push(self) -> None:
        """Let go what is held; does not block."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Push, and wait until everything sent has left this process; False if it has not within `timeout_s`."""
        ...

    def close(self, linger_s: float) -> None:
        """Close; what has not left within `linger_s` is dropped."""
        ...


class PartReceiver(Protocol):
    """Receives data messages of all client ranks; one per server rank."""

    endpoint: str

    @property
    def refused(self) -> Mapping[str, int]:
        """How many connections were refused, by reason."""
        ...

    def receive(self, place: Place, timeout_s: float) -> Received | None:
        """Wait for one message and receive its payload straight into place.

        Args:
            place: if it raises, the message is consumed and the exception propagates.
            timeout_s: None is returned after so long, or when woken.
        """
        ...

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        ...

    def close(self) -> None:
        """Close; what was not received is dropped."""
        ...


class ControlServer(Protocol):
    """The launcher's end of all control connections.

    Attributes:
        endpoint: of the door of jobs.
        server_endpoint: of the door of server ranks.
    """

    endpoint: str
    server_endpoint: str

    @property
    def refused(self) -> Mapping[str, int]:
        """How many connections were refused, by reason."""
        ...

    def receive(self, timeout_s: float) -> tuple[Peer, bytes] | None:
        """The next message as (peer, message); None at the time-out or when woken."""
        ...

    def send(self, peer: Peer, message: bytes) -> bool:
        """Send without blocking; False if the peer is unknown, gone, or does not read."""
        ...

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        ...

    def close(self, linger_s: float) -> None:
        """Close; what has not left within `linger_s` is dropped."""
        ...


class ControlClient(Protocol):
    """A process's end of its control connection."""

    def send(self, message: bytes) -> None:
        """Queue a message; it may be lost with the connection, which is the link's business."""
        ...

    def receive(self, timeout_s: float) -> bytes | None:
        """The next message; None at the time-out or when woken."""
        ...

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        ...

    def close(self, linger_s: float) -> None:
        """Close; what has not left within `linger_s` is dropped."""
        ...


class Transport(Protocol):
    """Makes the ends; closed after them."""

    def part_sender(self, endpoints: Sequence[str], *, budget_bytes: int) -> PartSender:
        """Connect to the server ranks' endpoints, in the order of the ranks."""
        ...

    def part_receiver(self, *, queue_length: int, max_nbytes: int | None = None) -> PartReceiver:
        """Open an endpoint; `queue_length` messages per sender wait on this side.

        Args:
            queue_length: messages.
            max_nbytes: of a payload; nothing larger is taken into memory, but a megabyte is taken in any case. A larger
                message is dropped, and with it what its sender had sent before and was not received yet. None: any
                size.
        """
        ...

    def control_server(self, address: str | None = None, server_address: str | None = None) -> ControlServer:
        """Open the launcher's endpoints, on free ports if no addresses are given.

        Args:
            address: for jobs.
            server_address: for server ranks.

        Raises:
            TransportError: the address is taken or not of this machine.
        """
        ...

    def control_client(self, endpoint: str, name: bytes) -> ControlClient:
        """Connect to a door of the launcher under a name of one's own."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def copy_payload(source: memoryview, target: Target) -> str | None:
    """Copy a payload that has arrived to its place; why it does not fit there, if it does not."""
    if target.nbytes != source.nbytes:
        return f"the payload has {source.nbytes} bytes, {target.nbytes} were expected"
    # Through numpy, which lets the other threads run meanwhile, where it is not more trouble than the copy.
    if isinstance(target, np.ndarray):
        np.copyto(target, np.frombuffer(source, target.dtype).reshape(target.shape))
    elif source.nbytes < _COPIED_BY_SLICE_BYTES:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))
    return None
