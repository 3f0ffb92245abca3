"""ZeroMQ over TCP: PUSH/PULL for parts (`zmq_outlet`, `zmq_receiver`), DEALER/ROUTER for control messages."""

import os
import resource
from collections.abc import Sequence

import zmq

from melissa_like.transport.bundles import LARGEST_BUNDLE_BYTES
from melissa_like.transport.forks import require_same_process
from melissa_like.transport.interface import PartReceiver, PartSender
from melissa_like.transport.part_sender import BundlingSender, Outlet
from melissa_like.transport.ring_outlet import RingOutlet
from melissa_like.transport.shared_memory import read_probe, split_endpoint
from melissa_like.transport.zmq_outlet import InFlight, ZmqOutlet
from melissa_like.transport.zmq_receiver import ZmqPartReceiver
from melissa_like.transport.zmq_sockets import Arrivals, Socket, bind, connect, set_options, tcp_address

__all__ = ["ZmqTransport"]

_WANTED_OPEN_FILES = 2**16
_MAX_CONTROL_NBYTES = 64 * 2**20  # far more than any message has; what a stranger can make the launcher hold


class ZmqTransport:
    """Owns the ZeroMQ context of a process.

    Args:
        host: name or address, of IPv4 or IPv6, under which this process is reached by the others.
        shares_memory: let the senders of this node hand payloads over through shared memory.
    """

    def __init__(self, host: str = "127.0.0.1", *, shares_memory: bool = True) -> None:
        _raise_open_file_limit()
        self._host = host
        self._shares_memory = shares_memory
        self._context = zmq.Context()

    def part_sender(self, endpoints: Sequence[str], *, budget_bytes: int) -> PartSender:
        """See `Transport.part_sender`."""
        addresses, probes = zip(*(split_endpoint(endpoint) for endpoint in endpoints), strict=True)
        tokens = [read_probe(probe) for probe in probes]
        num_sharing = sum(token is not None for token in tokens)
        # Every outlet may hold a bundle besides what is on its way.
        bundle_bytes = max(1, min(LARGEST_BUNDLE_BYTES, budget_bytes // (8 * len(addresses))))
        ring_bytes = budget_bytes // 2 if num_sharing else 0
        in_flight = InFlight(budget_bytes - ring_bytes - len(addresses) * bundle_bytes, len(addresses))
        outlets: list[Outlet] = []
        for number, (address, token) in enumerate(zip(addresses, tokens, strict=True)):
            outlet = ZmqOutlet(self._context, address, in_flight, number, bundle_nbytes=bundle_bytes)
            outlets.append(outlet if token is None else RingOutlet(outlet, ring_bytes // num_sharing, token))
        return BundlingSender(outlets)

    def part_receiver(self, *, queue_length: int, max_nbytes: int | None = None) -> PartReceiver:
        """See `Transport.part_receiver`."""
        return ZmqPartReceiver(
            self._context, self._host, queue_length, max_nbytes=max_nbytes, shares_memory=self._shares_memory
        )

    def control_server(self, address: str | None = None) -> "_ZmqControlServer":
        """See `Transport.control_server`."""
        return _ZmqControlServer(self._context, address or tcp_address(self._host))

    def control_client(self, endpoint: str, identity: bytes) -> "_ZmqControlClient":
        """See `Transport.control_client`."""
        return _ZmqControlClient(self._context, endpoint, identity)

    def close(self) -> None:
        """Destroy the context; every socket is closed before."""
        self._context.destroy(linger=0)


def _raise_open_file_limit() -> None:
    """Every connection is a descriptor, and the usual soft limit of 1024 is fewer than the ranks of a large study."""
    present, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(present, min(most, _WANTED_OPEN_FILES)), most))


class _ZmqControlServer:
    def __init__(self, context: zmq.Context[Socket], address: str) -> None:
        self._socket = context.socket(zmq.ROUTER)
        set_options(self._socket)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_CONTROL_NBYTES)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # a server rank hears of every simulation, thousands at a time
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.endpoint = bind(self._socket, address)
        self._arrivals = Arrivals(self._socket)

    def receive(self, timeout_s: float) -> tuple[bytes, bytes] | None:
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            if not self._arrivals.wait(timeout_s):
                return None
            frames = self._socket.recv_multipart()
        return frames[0], frames[-1]

    def send(self, peer: bytes, message: bytes) -> bool:
        try:
            self._socket.send_multipart([peer, message], zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True

    def wake(self) -> None:
        self._arrivals.wake()

    def close(self, linger_s: float) -> None:
        self._socket.close(linger=int(1000 * linger_s))
        self._arrivals.close()


class _ZmqControlClient:
    def __init__(self, context: zmq.Context[Socket], endpoint: str, identity: bytes) -> None:
        self._socket = context.socket(zmq.DEALER)
        set_options(self._socket)
        self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        connect(self._socket, endpoint)
        self._arrivals = Arrivals(self._socket)
        self._pid = os.getpid()

    def send(self, message: bytes) -> None:
        require_same_process(self._pid)
        self._socket.send(message)

    def receive(self, timeout_s: float) -> bytes | None:
        require_same_process(self._pid)
        return self._socket.recv() if self._arrivals.wait(timeout_s) else None

    def wake(self) -> None:
        self._arrivals.wake()

    def close(self, linger_s: float) -> None:
        self._socket.close(linger=int(1000 * linger_s))
        self._arrivals.close()
