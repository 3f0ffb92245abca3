"""The launcher's control socket: one link per peer, messages in, events' raw material out."""

import time
from collections import Counter

from melissa_like.errors import ProtocolError
from melissa_like.protocol.control import ControlMessage
from melissa_like.protocol.link import Link
from melissa_like.records import Address, ClientRank, ServerRank, StudyIdentity, parse_address
from melissa_like.transport import ControlServer

__all__ = ["Peers"]

_REPEAT_EVERY_S = 0.25
_MOST_REASONS = 20
_LONGEST_NAME = 40


class Peers:
    """Every process that has spoken to the launcher; owned, with the socket, by the launcher's loop.

    Attributes:
        refused: messages that were not for this study, by reason.
    """

    def __init__(self, socket: ControlServer, identity: StudyIdentity) -> None:
        self._socket = socket
        self._identity = identity
        self._links: dict[Address, Link] = {}
        self._addresses: dict[bytes, Address] = {}
        self._unanswered: dict[Address, Link] = {}
        self._repeated_at = 0.0
        self.refused: Counter[str] = Counter()

    def receive(self, timeout_s: float) -> tuple[Address, ControlMessage | None] | None:
        """The next message and who sent it; None at the time-out or when woken.

        The message is None if there is nothing to act on: an acknowledgement, or one that is not for this study, which
        is counted and dropped.
        """
        received = self._socket.receive(timeout_s)
        if received is None:
            return None
        peer, encoded = received
        address = self._addresses.get(peer) or parse_address(peer.decode(errors="replace"))
        if address is None:
            name = peer[:_LONGEST_NAME].decode(errors="replace")
            self._refuse(f"{name!r} is no address: connect as JOB/RANK")
            return _NOBODY, None
        link = self._links.get(address)
        known = link is not None
        if link is None:
            link = Link(self._identity)
        try:
            message = link.receive(encoded)
        except ProtocolError as error:
            self._refuse(str(error))
            return address, None
        if not known:
            self._links[address] = link
            self._addresses[peer] = address
        self._unanswered[address] = link
        return address, message

    def acknowledge(self) -> None:
        """Acknowledge what was received and not answered by a message since; call it when all that waits is read."""
        now = time.monotonic()
        for address, link in self._unanswered.items():
            for encoded in link.due(now):
                self._socket.send(str(address).encode(), encoded)
        self._unanswered.clear()

    def tell(self, address: Address, message: ControlMessage) -> None:
        """Send; repeated until the peer acknowledges, for a peer that is known."""
        link = self._links.get(address)
        if link is not None:
            self._socket.send(str(address).encode(), link.post(message, time.monotonic()))

    def repeat(self) -> None:
        """Send again what was not acknowledged; cheap, call it often."""
        now = time.monotonic()
        if now - self._repeated_at < _REPEAT_EVERY_S:
            return
        self._repeated_at = now
        for address, link in self._links.items():
            for encoded in link.due(now):
                if not self._socket.send(str(address).encode(), encoded):
                    break

    def forget(self, process: ServerRank | str) -> None:
        """Drop the links of a server rank, or of all ranks of a job, that has ended: nobody acknowledges any more."""
        gone = [
            address
            for address in self._links
            if address == process or (isinstance(address, ClientRank) and address.job == process)
        ]
        for address in gone:
            del self._links[address]
            self._addresses.pop(str(address).encode(), None)

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        self._socket.wake()

    def _refuse(self, reason: str) -> None:
        if len(self.refused) >= _MOST_REASONS and reason not in self.refused:
            reason = "others"  # a stranger may think up any number of them
        self.refused[reason] += 1


_NOBODY = ClientRank("nobody")
