"""Connections between two processes of a study, tried with plain sockets: who answers tells the time."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType

from melissa_like.launcher.doctor.reports import Contact
from melissa_like.transport.zmq_sockets import host_in

__all__ = ["Listener", "contact"]

_CLOCK = struct.Struct("!d")
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.2
_BACKLOG = 128


class Listener:
    """Answers whoever connects with the time, until it is left; on a thread of its own.

    Args:
        address: numeric, of this host.
        clock: seconds since 1970.

    Attributes:
        endpoint: where it listens.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.time) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._clock = clock
        self._socket = socket.create_server((address, 0), family=family, backlog=_BACKLOG)
        self._socket.settimeout(_LOOK_EVERY_S)
        port = self._socket.getsockname()[1]
        self.endpoint = f"tcp://{f'[{address}]' if ':' in address else address}:{port}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._answer, name="doctor-listener", daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(_PATIENCE_S)
        self._socket.close()

    def _answer(self) -> None:
        while not self._ended.is_set():
            try:
                asking, _ = self._socket.accept()
            except TimeoutError:
                continue
            with asking:
                asking.settimeout(_LOOK_EVERY_S)
                try:
                    if asking.recv(1):
                        asking.sendall(_CLOCK.pack(self._clock()))
                except OSError:
                    continue  # it has gone, or says nothing: the next one must not wait for it


def contact(whom: str, endpoint: str, clock: Callable[[], float] = time.time) -> Contact:
    """Connect to a listener and ask for the time; the clock there is taken as of half way.

    Args:
        whom: is said to listen there.
        endpoint: of the listener.
        clock: of this host, seconds since 1970.
    """
    port = int(endpoint.rpartition(":")[2])
    try:
        with socket.create_connection((host_in(endpoint), port), timeout=_PATIENCE_S) as connected:
            asked_at, began = clock(), time.perf_counter()
            connected.sendall(b"?")
            told = b""
            while len(told) < _CLOCK.size and (more := connected.recv(_CLOCK.size - len(told))):
                told += more
            seconds = time.perf_counter() - began
    except OSError as error:
        return Contact(whom=whom, endpoint=endpoint, problem=str(error))
    if len(told) < _CLOCK.size:
        return Contact(whom=whom, endpoint=endpoint, problem="the connection was closed without an answer")
    offset = float(_CLOCK.unpack(told)[0]) - (asked_at + seconds / 2)
    return Contact(whom=whom, endpoint=endpoint, seconds=seconds, clock_offset_s=offset)
