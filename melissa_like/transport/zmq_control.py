"""The control connections over ZeroMQ: two ROUTERs of the launcher, one for each kind of process, and many DEALERs."""

import os
from collections import deque
from collections.abc import Callable, Mapping

import zmq

from melissa_like.transport.forks import require_same_process
from melissa_like.transport.interface import Door, Peer
from melissa_like.transport.zmq_sockets import Arrivals, Socket, set_listening, set_options

__all__ = ["ZmqControlClient", "ZmqControlServer", "open_door"]

#: What one message can make the launcher hold: far more than any has.
_MAX_NBYTES = {Door.JOBS: 2**20, Door.SERVERS: 64 * 2**20}
#: Messages of one process that wait on the launcher's side; what is more waits on the other one.
_MOST_WAITING = {Door.JOBS: 32, Door.SERVERS: 1000}
#: Messages that are taken at one door before the other one's turn.
_MOST_IN_A_ROW = 16
#: So many of these are taken before ZeroMQ is asked to look who has begun to speak. By itself it looks once in 100
#: messages, and beside a flood of one process another one would wait for fifty messages of it each time.
_LOOK_EVERY = 4
_EVENTS = int(zmq.EVENTS)  # a plain number is cheaper for pyzmq


def open_door(context: zmq.Context[Socket], door: Door) -> Socket:
    """The socket of a door, not bound."""
    socket = context.socket(zmq.ROUTER)
    set_options(socket)
    set_listening(socket)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_NBYTES[door])
    socket.setsockopt(zmq.RCVHWM, _MOST_WAITING[door])
    socket.setsockopt(zmq.SNDHWM, 0)  # a server rank hears of every simulation, thousands at a time
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket


class ZmqControlServer:
    """See `ControlServer`.

    Args:
        sockets: of the doors, bound.
        endpoints: of the doors.
        refused: connections that were refused, by reason.
    """

    def __init__(
        self, sockets: Mapping[Door, Socket], endpoints: Mapping[Door, str], refused: Callable[[], Mapping[str, int]]
    ) -> None:
        self.endpoint = endpoints[Door.JOBS]
        self.server_endpoint = endpoints[Door.SERVERS]
        self._sockets = sockets
        self._refused = refused
        self._turns = deque(sockets.items())
        self._in_a_row = 0
        self._arrivals = Arrivals(*sockets.values())

    def receive(self, timeout_s: float) -> tuple[Peer, bytes] | None:
        """See `ControlServer.receive`."""
        received = self._take()
        if received is None and self._arrivals.wait(timeout_s):
            received = self._take()
        return received

    def send(self, peer: Peer, message: bytes) -> bool:
        """See `ControlServer.send`."""
        try:
            self._sockets[peer.door].send_multipart([peer.name, message], zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True

    @property
    def refused(self) -> Mapping[str, int]:
        """See `ControlServer.refused`."""
        return self._refused()

    def wake(self) -> None:
        """See `ControlServer.wake`."""
        self._arrivals.wake()

    def close(self, linger_s: float) -> None:
        """See `ControlServer.close`."""
        for socket in self._sockets.values():
            socket.close(linger=int(1000 * linger_s))
        self._arrivals.close()

    def _take(self) -> tuple[Peer, bytes] | None:
        """What waits, a few messages at each door in turn, so that a crowd at one does not shut the other."""
        for _ in range(1 + len(self._turns)):
            if self._in_a_row < _MOST_IN_A_ROW:
                door, socket = self._turns[0]
                if self._in_a_row % _LOOK_EVERY == 0:
                    # Only for the look: that a socket says it has nothing is not believed before it was read.
                    socket.getsockopt(_EVENTS)
                self._in_a_row += 1
                try:
                    name, *frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    pass
                else:
                    return Peer(door, name), frames[0] if len(frames) == 1 else b""
            self._turns.rotate()
            self._in_a_row = 0
        return None


class ZmqControlClient:
    """See `ControlClient`.

    Args:
        socket: a DEALER that is connected.
    """

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._arrivals = Arrivals(self._socket)
        self._pid = os.getpid()

    def send(self, message: bytes) -> None:
        """See `ControlClient.send`."""
        require_same_process(self._pid)
        self._socket.send(message)

    def receive(self, timeout_s: float) -> bytes | None:
        """See `ControlClient.receive`."""
        require_same_process(self._pid)
        return self._socket.recv() if self._arrivals.wait(timeout_s) else None

    def wake(self) -> None:
        """See `ControlClient.wake`."""
        self._arrivals.wake()

    def close(self, linger_s: float) -> None:
        """See `ControlClient.close`."""
        self._socket.close(linger=int(1000 * linger_s))
        self._arrivals.close()
