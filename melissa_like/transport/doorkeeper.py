"""`Doorkeeper`: the thread that answers for the domains of a process.

It has a thread of its own because the threads that own the listening sockets may be busy for long: a receiver waits for
room in its buffer, a launcher for its disk; who connects meanwhile should not be kept out.
"""

import itertools
import queue
import threading
from typing import Any

import zmq

from melissa_like.transport.admission import Entry, answer
from melissa_like.transport.wakeup import Wakeup
from melissa_like.transport.zmq_sockets import Socket

__all__ = ["Doorkeeper"]

_ADDRESS = "inproc://zeromq.zap.01"
_WAIT_MS = 1000
#: It did not follow the protocol, as who encrypts for another; or hung up, as who notices first that it would fail.
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_CLOSE_S = 10.0
_WRONG = "a connection with a wrong key or secret"
_STRANGE = "a connection that ended before it had shown a key or secret"


class Doorkeeper:
    """Lets in who may connect to the listening sockets of a ZeroMQ context, and counts the others.

    Args:
        context: of the process; another one cannot have a second doorkeeper.
    """

    def __init__(self, context: zmq.Context[Socket]) -> None:
        self._context = context
        self._entries: dict[bytes, Entry] = {}
        self._num_wrong: dict[bytes, int] = {}
        self._num_strange: dict[bytes, int] = {}
        self._numbers = itertools.count()
        self._to_watch: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._closing = threading.Event()
        self._wakeup = Wakeup()
        self._socket = context.socket(zmq.REP)
        self._socket.bind(_ADDRESS)
        self._thread = threading.Thread(target=self._run, name="doorkeeper", daemon=True)
        self._thread.start()

    def watch(self, socket: Socket, domain: bytes, entry: Entry) -> None:
        """Answer for a socket of a domain from now on; call it before the socket is bound."""
        self._num_wrong.setdefault(domain, 0)
        self._num_strange.setdefault(domain, 0)
        self._entries[domain] = entry
        address = f"inproc://watch-{next(self._numbers)}"
        socket.monitor(address, _FAILED)
        self._to_watch.put((address, domain))
        self._wakeup.set()

    def refused(self, domain: bytes) -> dict[str, int]:
        """How many connections to a domain were refused, by reason; from any thread.

        Raises:
            BaseException: what ended the thread, which lets nobody in any more.
        """
        if self._error is not None:
            raise self._error
        counts = {_WRONG: self._num_wrong[domain], _STRANGE: self._num_strange[domain]}
        return {reason: count for reason, count in counts.items() if count}

    def close(self) -> None:
        """End the thread; the sockets that it has answered for are closed before.

        Raises:
            AssertionError: the thread did not end in time.
        """
        self._closing.set()
        self._wakeup.set()
        self._thread.join(_CLOSE_S)
        assert not self._thread.is_alive(), "the doorkeeper did not end"
        self._wakeup.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wakeup.fileno(), zmq.POLLIN)
        watched: dict[Any, bytes] = {}
        try:
            while not self._closing.is_set():
                ready = dict(poller.poll(_WAIT_MS))
                if self._wakeup.fileno() in ready:
                    self._wakeup.clear()
                while not self._to_watch.empty():
                    address, domain = self._to_watch.get_nowait()
                    watched[self._connected(address, poller)] = domain
                if self._socket in ready:
                    self._answer()
                for socket in ready.keys() & watched.keys():
                    socket.recv_multipart()
                    self._num_strange[watched[socket]] += 1
        except BaseException as error:
            self._error = error
        finally:
            for socket in (self._socket, *watched):
                socket.close(linger=0)

    def _connected(self, address: str, poller: zmq.Poller) -> Socket:
        """Where a listening socket tells of those who did not even come as far as a question."""
        socket = self._context.socket(zmq.PAIR)
        socket.setsockopt(zmq.RCVHWM, 0)  # or ZeroMQ's own thread would wait while this one does not read
        socket.connect(address)
        poller.register(socket, zmq.POLLIN)
        return socket

    def _answer(self) -> None:
        reply, refusing = answer(self._socket.recv_multipart(), self._entries)
        self._socket.send_multipart(reply)
        if refusing is not None:
            self._num_wrong[refusing] = self._num_wrong.get(refusing, 0) + 1
