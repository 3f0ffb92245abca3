"""What all sockets of the ZeroMQ transport have in common."""

import errno
import math
import socket as names

import zmq

from melissa_like.errors import TransportError
from melissa_like.transport.wakeup import Wakeup

__all__ = [
    "MORE",
    "Arrivals",
    "Socket",
    "bind",
    "connect",
    "host_in",
    "numeric_host",
    "numeric_hosts",
    "set_listening",
    "set_options",
    "tcp_address",
]

Socket = zmq.Socket[bytes]

MORE = int(zmq.RCVMORE)  # a plain number costs pyzmq 0.8 us, the name 1.9 us; it is asked for with every message
_BACKLOG = 4096  # as Linux allows by default (net.core.somaxconn); ZeroMQ takes 100
_KEEP_ALIVE = ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 60), (zmq.TCP_KEEPALIVE_INTVL, 20))


def numeric_host(host: str) -> str:
    """The first of `numeric_hosts`."""
    return numeric_hosts(host)[0]


def numeric_hosts(host: str) -> tuple[str, ...]:
    """The addresses of a host by name or address, those of IPv4 first; an IPv6 address may be in brackets.

    Raises:
        TransportError: it has none.
    """
    try:
        found = names.getaddrinfo(host.removeprefix("[").removesuffix("]"), None, type=names.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransportError(
            f"transport.host is {host!r}, which has no address here ({error}): write auto, or a name or an address of "
            "this machine, such as 127.0.0.1 or ::1"
        ) from None
    in_order = sorted(found, key=lambda entry: entry[0] != names.AF_INET)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in in_order))


def host_in(endpoint: str) -> str:
    """The address in an endpoint such as tcp://10.1.0.7:4711 or tcp://[fd00::7]:4711."""
    return endpoint.removeprefix("tcp://").rpartition(":")[0].removeprefix("[").removesuffix("]")


def tcp_address(host: str, port: int | None = None) -> str:
    """The address to bind to; without a port, at a free one.

    Raises:
        TransportError: the host has no address.
    """
    numeric = numeric_host(host)
    return f"tcp://{f'[{numeric}]' if ':' in numeric else numeric}:{'*' if port is None else port}"


def connect(socket: Socket, endpoint: str) -> None:
    """Connect, over IPv6 to an address in brackets."""
    _allow_ipv6(socket, endpoint)
    socket.connect(endpoint)


def _allow_ipv6(socket: Socket, address: str) -> None:
    # Only where it is needed: with it an IPv4 address becomes one of IPv6, which not every machine has.
    if "[" in address:
        socket.setsockopt(zmq.IPV6, 1)


def bind(socket: Socket, address: str) -> str:
    """Bind, and return the endpoint under which the socket is reached.

    Raises:
        TransportError: the address is taken or not of this machine; the socket is closed.
    """
    _allow_ipv6(socket, address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        why = "is taken" if error.errno in (errno.EADDRINUSE, zmq.EADDRINUSE) else f"cannot be opened ({error})"
        raise TransportError(
            f"{address} {why}: choose another transport.port (0 takes a free one), or a transport.host of this machine"
        ) from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def set_listening(socket: Socket) -> None:
    """Before a socket is bound: thousands may connect at once, and whom the system drops tries again a second later."""
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)


def set_options(socket: Socket) -> None:
    """Nothing lingers unless a close says so, and a dead connection is noticed."""
    socket.setsockopt(zmq.LINGER, 0)
    for option, value in _KEEP_ALIVE:
        socket.setsockopt(option, value)


class Arrivals:
    """Waits for messages on sockets; any thread may wake it."""

    def __init__(self, *sockets: Socket) -> None:
        self._wakeup = Wakeup()
        self._poller = zmq.Poller()
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether a message is there, after the time-out or a wake-up at the latest."""
        ready = dict(self._poller.poll(math.ceil(1000 * timeout_s)))
        if ready.pop(self._wakeup.fileno(), None) is not None:
            self._wakeup.clear()
        return bool(ready)

    def wake(self) -> None:
        """Make a waiting `wait` return."""
        self._wakeup.set()

    def close(self) -> None:
        """Give the descriptor back; calls of `wake` do nothing from now on."""
        self._wakeup.close()
