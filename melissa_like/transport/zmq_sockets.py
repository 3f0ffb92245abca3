"""What all sockets of the ZeroMQ transport have in common."""

import errno
import math

import zmq

from melissa_like.errors import TransportError
from melissa_like.transport.wakeup import Wakeup

__all__ = ["MORE", "Arrivals", "Socket", "bind", "set_options"]

Socket = zmq.Socket[bytes]

MORE = int(zmq.RCVMORE)  # a plain number costs pyzmq 0.8 us, the name 1.9 us; it is asked for with every message
_KEEP_ALIVE = ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 60), (zmq.TCP_KEEPALIVE_INTVL, 20))


def bind(socket: Socket, address: str) -> str:
    """Bind, and return the endpoint under which the socket is reached.

    Raises:
        TransportError: the address is taken or not of this machine; the socket is closed.
    """
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        why = "is taken" if error.errno in (errno.EADDRINUSE, zmq.EADDRINUSE) else f"cannot be opened ({error})"
        raise TransportError(
            f"{address} {why}: choose another transport.port (0 takes a free one), or a transport.host of this machine"
        ) from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def set_options(socket: Socket) -> None:
    """Nothing lingers unless a close says so, and a dead connection is noticed."""
    socket.setsockopt(zmq.LINGER, 0)
    for option, value in _KEEP_ALIVE:
        socket.setsockopt(option, value)


class Arrivals:
    """Waits for messages on a socket; any thread may wake it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._wakeup = Wakeup()
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether a message is there, after the time-out or a wake-up at the latest."""
        ready = dict(self._poller.poll(math.ceil(1000 * timeout_s)))
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        return self._socket in ready

    def wake(self) -> None:
        """Make a waiting `wait` return."""
        self._wakeup.set()

    def close(self) -> None:
        """Give the descriptor back; calls of `wake` do nothing from now on."""
        self._wakeup.close()
