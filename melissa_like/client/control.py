"""A client rank's line to the launcher.

Rank 0 of a job holds one from hello to the end; another rank opens its own only when its send stays blocked. Everything
happens on the calling thread: while the solver computes, nobody listens, and nobody needs to.
"""

import time
from typing import TypeVar

from melissa_like.errors import ConnectionRefusedByStudyError, StudyStoppedError
from melissa_like.protocol.control import Acknowledge, ControlMessage, Refused, Stop
from melissa_like.protocol.link import Link
from melissa_like.protocol.liveness import Liveness
from melissa_like.records import ClientRank, StudyIdentity
from melissa_like.transport import ControlClient, Transport

__all__ = ["ControlLine", "SignsOfLife"]

#: A launcher that answers nothing for so long is gone, for a job that it has not welcomed yet.
_SILENCE_S = 60.0
_LISTEN_S = 0.2
_LINGER_S = 1.0
#: Between two signs of life while nothing is sent, because the server ranks hold it already.
_MENTION_EVERY_S = 1.0
_HEED_EVERY_S = 1.0

_Expected = TypeVar("_Expected", bound=ControlMessage)


class ControlLine:
    """Numbered messages to the launcher and back; the socket is opened when there is something to say.

    Attributes:
        address: this rank; the launcher addresses answers to it.
    """

    def __init__(self, transport: Transport, endpoint: str, identity: StudyIdentity, address: ClientRank) -> None:
        self.address = address
        self._transport = transport
        self._endpoint = endpoint
        self._link = Link(identity)
        self._opened: ControlClient | None = None
        self._num_heard = 0
        self._patience_s = _SILENCE_S
        self._liveness = Liveness(self._patience_s, time.monotonic())

    def close(self) -> None:
        """Close the socket, if it was opened."""
        if self._opened is not None:
            self._opened.close(_LINGER_S)
            self._opened = None

    def post(self, message: ControlMessage) -> None:
        """Send; the message is repeated by later calls until the launcher acknowledges it."""
        self._socket.send(self._link.post(message, time.monotonic()))

    def mention(self, message: ControlMessage) -> None:
        """Send something that may be lost: it is not repeated."""
        self._socket.send(self._link.post_unnumbered(message))

    def be_patient(self, orphan_timeout_s: float) -> None:
        """From now on a launcher is only gone if it lets a question wait for so long."""
        self._patience_s = orphan_timeout_s
        self._liveness = Liveness(orphan_timeout_s, time.monotonic())

    def heed(self) -> None:
        """Take what the launcher has said meanwhile, without waiting; ask for a sign of life if it said nothing.

        Raises:
            ConnectionRefusedByStudyError: the launcher refuses this client.
            StudyStoppedError: the study has ended, or the launcher is gone.
        """
        while True:
            before = self._num_heard
            self._listen(0.0)
            if self._num_heard == before:
                break
        self._require_life()

    def expect(self, kind: type[_Expected], *others: type[_Expected]) -> _Expected:
        """Wait for a message of one of these kinds; others are dropped, they answer questions already settled.

        Blocks until it comes, as long as the launcher shows signs of life.

        Raises:
            ConnectionRefusedByStudyError: the launcher refuses this client.
            StudyStoppedError: the study has ended, or the launcher is gone.
        """
        self._liveness.hear(time.monotonic())
        while True:
            before = self._num_heard
            message = self._listen(_LISTEN_S)
            for expected in (kind, *others):
                if isinstance(message, expected):
                    return message
            if self._num_heard == before:
                self._require_life()

    def settle(self, timeout_s: float) -> bool:
        """Wait until the launcher has acknowledged everything posted."""
        deadline = time.monotonic() + timeout_s
        while not self._link.settled and time.monotonic() < deadline:
            self._listen(_LISTEN_S)
        return self._link.settled

    def _require_life(self) -> None:
        """Ask, or give up; all that waits is read."""
        now = time.monotonic()
        if self._liveness.is_gone(now):
            raise StudyStoppedError(
                f"the launcher has not answered for {self._patience_s:g} s: it is gone, or was started again since "
                "this job has read where it is"
            )
        if self._liveness.asks(now):
            self.post(Acknowledge())  # numbered, so it must be answered

    @property
    def _socket(self) -> ControlClient:
        if self._opened is None:
            self._opened = self._transport.control_client(self._endpoint, str(self.address).encode())
        return self._opened

    def _listen(self, timeout_s: float) -> ControlMessage | None:
        socket = self._socket
        received = socket.receive(timeout_s)
        now = time.monotonic()
        message = None
        if received is not None:
            self._num_heard += 1
            self._liveness.hear(now)
            message = self._link.receive(received)
        for encoded in self._link.due(now):
            socket.send(encoded)
        if isinstance(message, Refused):
            raise ConnectionRefusedByStudyError(message.reason)
        if isinstance(message, Stop):
            raise StudyStoppedError(message.reason)
        return message


class SignsOfLife:
    """What a rank hears and says now and then, between time steps.

    Args:
        line: to the launcher.
    """

    def __init__(self, line: ControlLine) -> None:
        self._line = line
        self._mentioned_at = self._heeded_at = time.monotonic()

    def heed(self) -> None:
        """Take what the launcher has said, once a second: a job must not compute on for a study that is over.

        Raises:
            ConnectionRefusedByStudyError: as `ControlLine.heed`.
            StudyStoppedError: as `ControlLine.heed`.
        """
        now = time.monotonic()
        if now - self._heeded_at >= _HEED_EVERY_S:
            self._heeded_at = now
            self._line.heed()

    def mention(self, message: ControlMessage) -> None:
        """Say something that may be lost, once a second."""
        now = time.monotonic()
        if now - self._mentioned_at >= _MENTION_EVERY_S:
            self._mentioned_at = now
            self._line.mention(message)
