"""`Gate`: secures the sockets of one process by the credentials that it has in its study."""

from collections.abc import Iterable

import zmq

from melissa_like.protocol.keys import Credentials
from melissa_like.transport.admission import entry_for, secure, show
from melissa_like.transport.doorkeeper import Doorkeeper
from melissa_like.transport.interface import Door
from melissa_like.transport.zmq_sockets import Socket

__all__ = ["Gate"]

_DOMAINS = {Door.JOBS: b"jobs", Door.SERVERS: b"servers"}
_PARTS = b"parts"


class Gate:
    """Called for each socket before it is bound or connected.

    Args:
        context: of the process.
        credentials: of the process; None: everybody is let in, and nothing is shown.
    """

    def __init__(self, context: zmq.Context[Socket], credentials: Credentials | None) -> None:
        self._context = context
        self._credentials = credentials
        self._doorkeeper: Doorkeeper | None = None

    def guard_door(self, socket: Socket, door: Door) -> None:
        """Let in through a door of the launcher only who holds the key of its kind."""
        if self._credentials is not None:
            keys = self._credentials.keys
            key = None if keys is None else keys.job if door is Door.JOBS else keys.server
            self._guard(socket, _DOMAINS[door], self._credentials, key)

    def guard_parts(self, socket: Socket) -> None:
        """Let in only solver jobs of the study, to send parts."""
        if self._credentials is not None:
            keys = self._credentials.data_keys
            self._guard(socket, _PARTS, self._credentials, None if keys is None else keys.job)

    def show_launcher(self, socket: Socket) -> None:
        """What the launcher asks for."""
        if self._credentials is not None:
            keys = self._credentials.keys
            show(socket, self._credentials, None if keys is None else keys.launcher)

    def show_server(self, socket: Socket) -> None:
        """What a server rank asks for."""
        if self._credentials is not None:
            keys = self._credentials.data_keys
            show(socket, self._credentials, None if keys is None else keys.server)

    def refused_at(self, doors: Iterable[Door]) -> dict[str, int]:
        """How many connections were refused at doors of the launcher, by reason."""
        return self._refused([_DOMAINS[door] for door in doors])

    def refused_parts(self) -> dict[str, int]:
        """The same of connections that would send parts."""
        return self._refused([_PARTS])

    def close(self) -> None:
        """After the sockets were closed."""
        if self._doorkeeper is not None:
            self._doorkeeper.close()

    def _guard(self, socket: Socket, domain: bytes, credentials: Credentials, key: str | None) -> None:
        secure(socket, domain, credentials, encrypts=key is not None)
        if self._doorkeeper is None:
            self._doorkeeper = Doorkeeper(self._context)
        self._doorkeeper.watch(socket, domain, entry_for(credentials, key))

    def _refused(self, domains: Iterable[bytes]) -> dict[str, int]:
        total: dict[str, int] = {}
        if self._doorkeeper is not None:
            for domain in domains:
                for reason, count in self._doorkeeper.refused(domain).items():
                    total[reason] = total.get(reason, 0) + count
        return total
