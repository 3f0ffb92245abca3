"""ZeroMQ over TCP: PUSH/PULL for parts (`zmq_outlet`, `zmq_receiver`), DEALER/ROUTER for control (`zmq_control`)."""

from collections.abc import Sequence

import zmq

from melissa_like.errors import TransportError
from melissa_like.protocol.keys import Credentials
from melissa_like.transport.admission import require_curve
from melissa_like.transport.bundles import LARGEST_BUNDLE_BYTES
from melissa_like.transport.gate import Gate
from melissa_like.transport.interface import ControlClient, ControlServer, Door, PartReceiver, PartSender
from melissa_like.transport.open_files import raise_open_file_limit
from melissa_like.transport.part_sender import BundlingSender, Outlet
from melissa_like.transport.ring_outlet import RingOutlet
from melissa_like.transport.shared_memory import read_probe, split_endpoint
from melissa_like.transport.zmq_control import ZmqControlClient, ZmqControlServer, open_door
from melissa_like.transport.zmq_outlet import InFlight, ZmqOutlet
from melissa_like.transport.zmq_receiver import ZmqPartReceiver, listening
from melissa_like.transport.zmq_sockets import Socket, bind, connect, set_options, tcp_address

__all__ = ["ZmqTransport"]


class ZmqTransport:
    """Owns the ZeroMQ context of a process.

    Args:
        host: name or address, of IPv4 or IPv6, under which this process is reached by the others.
        shares_memory: let the senders of this node hand payloads over through shared memory.
        credentials: of this process in its study; None, in tests: whoever connects is let in.

    Raises:
        TransportError: the study encrypts, and ZeroMQ cannot.
    """

    def __init__(
        self, host: str = "127.0.0.1", *, shares_memory: bool = True, credentials: Credentials | None = None
    ) -> None:
        if credentials is not None and credentials.keys is not None:
            require_curve()
        raise_open_file_limit()
        self._host = host
        self._shares_memory = shares_memory
        self._context = zmq.Context()
        self._gate = Gate(self._context, credentials)

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
            outlet = ZmqOutlet(self._connected(address), in_flight, number, bundle_nbytes=bundle_bytes)
            outlets.append(outlet if token is None else RingOutlet(outlet, ring_bytes // num_sharing, token))
        return BundlingSender(outlets)

    def part_receiver(self, *, queue_length: int, max_nbytes: int | None = None) -> PartReceiver:
        """See `Transport.part_receiver`."""
        address = tcp_address(self._host)
        socket = listening(self._context, queue_length, max_nbytes)
        self._gate.guard_parts(socket)
        endpoint = bind(socket, address)
        return ZmqPartReceiver(socket, endpoint, shares_memory=self._shares_memory, refused=self._gate.refused_parts)

    def control_server(self, address: str | None = None, server_address: str | None = None) -> ControlServer:
        """See `Transport.control_server`."""
        addresses = {Door.JOBS: address, Door.SERVERS: server_address}
        sockets: dict[Door, Socket] = {}
        endpoints: dict[Door, str] = {}
        try:
            for door, wanted in addresses.items():
                socket = sockets[door] = open_door(self._context, door)
                self._gate.guard_door(socket, door)
                endpoints[door] = bind(socket, wanted or tcp_address(self._host))
        except TransportError:
            for socket in sockets.values():
                socket.close(linger=0)
            raise
        return ZmqControlServer(sockets, endpoints, lambda: self._gate.refused_at(addresses))

    def control_client(self, endpoint: str, name: bytes) -> ControlClient:
        """See `Transport.control_client`."""
        socket = self._context.socket(zmq.DEALER)
        set_options(socket)
        self._gate.show_launcher(socket)
        socket.setsockopt(zmq.IDENTITY, name)
        socket.setsockopt(zmq.SNDHWM, 0)
        connect(socket, endpoint)
        return ZmqControlClient(socket)

    def close(self) -> None:
        """Destroy the context; every socket is closed before."""
        self._gate.close()
        self._context.destroy(linger=0)

    def _connected(self, address: str) -> Socket:
        """The socket of one outlet."""
        socket = self._context.socket(zmq.PUSH)
        set_options(socket)
        self._gate.show_server(socket)
        socket.setsockopt(zmq.SNDHWM, 0)  # the bound is in bytes
        connect(socket, address)
        return socket
