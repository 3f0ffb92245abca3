"""The launcher's control socket: one link per peer, messages in, events' raw material out.

Who connects calls itself by an address; the door through which it came tells its kind. Only processes that the study
expects have a link that lasts: whoever else comes has one until the launcher's turn ends, which is enough to be refused
by name, and to be refused again when it, or another of its name, says the same again. So has a command of the study's
user, which comes through the door of the server ranks: it says one thing, and is answered in the same turn.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from melissa_like.errors import ProtocolError
from melissa_like.protocol.control import Acknowledge, Blocked, ControlMessage, Hello, OtherVersionError, Scale
from melissa_like.protocol.link import Link, refusal_of_version
from melissa_like.records import Address, ClientRank, Operator, ServerRank, StudyIdentity, parse_address
from melissa_like.transport import ControlServer, Door, Peer

__all__ = ["Peers"]

_REPEAT_EVERY_S = 0.25
_MOST_REASONS = 20
_LONGEST_REASON = 300
_LONGEST_NAME = 40
_OF_A_STRANGER = Hello | Blocked | Acknowledge | None
_OF_AN_OPERATOR = Scale | Acknowledge | None


class Peers:
    """Every process that has spoken to the launcher; owned, with the socket, by the launcher's loop.

    Args:
        socket: the launcher's end.
        identity: what every message must carry.
        expects: whether a process is one of the study's: a server rank, or a job by its name.

    Attributes:
        refused: messages and connections that were not for this study, by reason.
    """

    def __init__(
        self,
        socket: ControlServer,
        identity: StudyIdentity,
        expects: Callable[[ServerRank | str], bool] = lambda process: True,
    ) -> None:
        self._socket = socket
        self._identity = identity
        self._expects = expects
        self._links: dict[Address, Link] = {}
        self._strangers: dict[Address, Link] = {}
        self._addresses: dict[Peer, Address] = {}
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
        address = self._addresses.get(peer) or self._address_of(peer)
        if address is None:
            return _NOBODY, None
        link = self._links.get(address)
        try:
            if link is None:
                return address, self._hear_a_new_one(peer, address, encoded)
            message = link.receive(encoded)
        except OtherVersionError as error:
            self._refuse(str(error))
            self._answer_other_version(peer, error)
            return address, None
        except ProtocolError as error:
            self._refuse(str(error))
            return address, None
        self._unanswered[address] = link
        return address, message

    def acknowledge(self) -> None:
        """Acknowledge what was received and not answered by a message since; call it when all that waits is read."""
        now = time.monotonic()
        for address, link in self._unanswered.items():
            for encoded in link.due(now):
                self._send(address, encoded)
        self._unanswered.clear()
        self._strangers.clear()

    def tell(self, address: Address, message: ControlMessage) -> None:
        """Send; repeated until the peer acknowledges, for a peer that is known."""
        link = self._links.get(address) or self._strangers.get(address)
        if link is not None:
            self._send(address, link.post(message, time.monotonic()))

    def repeat(self) -> None:
        """Send again what was not acknowledged; cheap, call it often."""
        now = time.monotonic()
        if now - self._repeated_at < _REPEAT_EVERY_S:
            return
        self._repeated_at = now
        for reason, count in self._socket.refused.items():
            self.refused[reason] = count
        for address, link in self._links.items():
            for encoded in link.due(now):
                if not self._send(address, encoded):
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
            self._addresses.pop(_peer_of(address), None)

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        self._socket.wake()

    def _address_of(self, peer: Peer) -> Address | None:
        """The address that a peer has given itself; None, and counted, if nobody has that comes through its door."""
        address = parse_address(peer.name.decode(errors="replace"))
        if address is None or _peer_of(address) != peer:
            name = peer.name[:_LONGEST_NAME].decode(errors="replace")
            of_its_kind = "JOB/RANK" if peer.door is Door.JOBS else "server-RANK"
            self._refuse(f"{name!r} is no address at the door of {peer.door.name.lower()}: connect as {of_its_kind}")
            return None
        return address

    def _hear_a_new_one(self, peer: Peer, address: Address, encoded: bytes) -> ControlMessage | None:
        """What a process says that has no link: it gets one, but a stranger's ends with the turn.

        Raises:
            ProtocolError: not for this study, or not a control message.
        """
        process = address.job if isinstance(address, ClientRank) else address
        is_expected = not isinstance(process, Operator) and self._expects(process)
        link = self._strangers.get(address) or Link(self._identity, joins_late=not is_expected)
        message = link.receive(encoded)
        self._unanswered[address] = link
        if is_expected:
            self._links[address] = link
            self._addresses[peer] = address
            return message
        self._strangers[address] = link
        if isinstance(message, _OF_AN_OPERATOR if isinstance(process, Operator) else _OF_A_STRANGER):
            return message
        self._refuse("a message of a process that the study does not expect, or not any more")
        return None

    def _answer_other_version(self, peer: Peer, error: OtherVersionError) -> None:
        """A job says it again until it is answered; what is not of this study is not."""
        with suppress(ProtocolError):
            self._socket.send(peer, refusal_of_version(error, self._identity))

    def _send(self, address: Address, encoded: bytes) -> bool:
        return self._socket.send(_peer_of(address), encoded)

    def _refuse(self, reason: str) -> None:
        reason = reason[:_LONGEST_REASON]
        if len(self.refused) >= _MOST_REASONS and reason not in self.refused:
            reason = "others"  # a stranger may think up any number of them
        self.refused[reason] += 1


def _peer_of(address: Address) -> Peer:
    return Peer(Door.JOBS if isinstance(address, ClientRank) else Door.SERVERS, str(address).encode())


_NOBODY = ClientRank("nobody")
