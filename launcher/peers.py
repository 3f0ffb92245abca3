"""The launcher's control socket: one link per peer, messages in, events' raw material out."""

import time
from collections import Counter

from melissa_like.errors import ProtocolError
from melissa_like.protocol.control import ControlMessage
from melissa_like.protocol.link import Link
from melissa_like.records import StudyIdentity
from melissa_like.transport import ControlServer

__all__ = ["Peers"]

_REPEAT_EVERY_S = 0.25
_MOST_REASONS = 20


class Peers:
    """Every process that has spoken to the launcher; owned, with the socket, by the launcher's loop."""

    def __init__(self, socket: ControlServer, identity: StudyIdentity) -> None:
        self._socket = socket
        self._identity = identity
        self._links: dict[str, Link] = {}
        self._repeated_at = 0.0
        self.refused: Counter[str] = Counter()

    def receive(self, timeout_s: float) -> tuple[str, ControlMessage | None] | None:
        """The next message and who sent it; None at the time-out or when woken.

        A message that is not for this study is counted and dropped.
        """
        received = self._socket.receive(timeout_s)
        if received is None:
            return None
        peer, encoded = received
        name = peer.decode(errors="replace")
        link = self._links.get(name)
        known = link is not None
        if link is None:
            link = Link(self._identity)
        try:
            message = link.receive(encoded)
        except ProtocolError as error:
            reason = str(error)
            if len(self.refused) >= _MOST_REASONS and reason not in self.refused:
                reason = "others"  # a stranger may think up any number of them
            self.refused[reason] += 1
            return name, None
        if not known:
            self._links[name] = link
        for answer in link.due(time.monotonic()):
            self._socket.send(peer, answer)
        return name, message

    def tell(self, name: str, message: ControlMessage) -> None:
        """Send; repeated until the peer acknowledges, for a peer that is known."""
        link = self._links.get(name)
        if link is not None:
            self._socket.send(name.encode(), link.post(message, time.monotonic()))

    def repeat(self) -> None:
        """Send again what was not acknowledged; cheap, call it often."""
        now = time.monotonic()
        if now - self._repeated_at < _REPEAT_EVERY_S:
            return
        self._repeated_at = now
        for name, link in list(self._links.items()):
            for encoded in link.due(now):
                if not self._socket.send(name.encode(), encoded):
                    break

    def forget(self, prefix: str) -> None:
        """Drop the links of a job that has ended: nobody acknowledges any more."""
        for name in [name for name in self._links if name.partition("/")[0] == prefix]:
            del self._links[name]

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        self._socket.wake()
