"""One end of a control connection as a pure object: numbers, acknowledgements, repetition.

ZeroMQ keeps order and delivers while a connection lives; a reconnect may lose what was queued. So each message is
numbered and kept until the other side acknowledges it; what has not been for `REPEAT_AFTER_S` is repeated, the oldest
first and more and more rarely, so that a peer that stands still is not flooded. The receiving side takes numbers in
order and drops what it has seen. No socket and no clock inside: bytes and `now` are arguments.
"""

from collections import deque
from itertools import islice

from melissa_like.errors import ProtocolError
from melissa_like.protocol.control import (
    CONTROL_VERSION,
    Acknowledge,
    ControlMessage,
    Envelope,
    OtherVersionError,
    Refused,
    decode_envelope,
    encode_envelope,
)
from melissa_like.protocol.control.envelope import UnreadEnvelope
from melissa_like.records import StudyIdentity

__all__ = ["REPEAT_AFTER_S", "Link", "check_identity", "refusal_of_version"]

REPEAT_AFTER_S = 1.0
_LONGEST_PAUSE_S = 16.0
_MOST_REPEATED = 64


def refusal_of_version(error: OtherVersionError, identity: StudyIdentity) -> bytes:
    """The answer to a solver job that speaks another version, in the envelope of that version.

    Of an envelope the version, the identity and the numbers stay the same for ever, and so does `Refused`.

    Raises:
        ProtocolError: the job is of another study.
    """
    asked = error.envelope
    check_identity(asked, identity)
    reason = (
        f"this job speaks version {asked.version} of the protocol and its launcher version {CONTROL_VERSION}: install "
        "the same release of melissa-like for both, or compile the solver with the client of that release"
    )
    return encode_envelope(
        Envelope(
            version=asked.version,
            study=identity.study,
            secret=identity.secret,
            launcher_incarnation=identity.launcher_incarnation,
            number=1,
            acknowledged=asked.number,
            message=Refused(reason=reason),
        )
    )


def check_identity(envelope: Envelope | UnreadEnvelope, identity: StudyIdentity) -> None:
    """Refuse an envelope of another study.

    Raises:
        ProtocolError: another study, a wrong secret or an older launcher.
    """
    if not identity.is_shown_by(envelope.study, envelope.secret):
        raise ProtocolError("a control message of another study (or with a wrong secret)")
    if envelope.launcher_incarnation != identity.launcher_incarnation:
        raise ProtocolError(
            f"a control message of launcher incarnation {envelope.launcher_incarnation}, this is "
            f"{identity.launcher_incarnation}"
        )


class Link:
    """The sending and the receiving state of one control connection.

    Args:
        identity: what every message must carry.
        joins_late: take the first number that comes, whatever it is: the other side has been speaking for long.
    """

    def __init__(self, identity: StudyIdentity, *, joins_late: bool = False) -> None:
        self._identity = identity
        self._joins_late = joins_late
        self._sent = 0
        self._received = 0
        self._owes_acknowledgement = False
        self._unacknowledged: deque[tuple[int, ControlMessage]] = deque()
        self._waits_since: float | None = None  # since when nothing was acknowledged; None: to be set
        self._pause_s = REPEAT_AFTER_S

    def post(self, message: ControlMessage, now: float) -> bytes:
        """The bytes to send now; the message is kept until acknowledged."""
        self._sent += 1
        if not self._unacknowledged:
            self._waits_since = now
        self._unacknowledged.append((self._sent, message))
        return self._envelope(self._sent, message)

    def post_unnumbered(self, message: ControlMessage) -> bytes:
        """The bytes of a message that may be lost, such as a report that the next one replaces."""
        return self._envelope(0, message)

    def receive(self, encoded: bytes) -> ControlMessage | None:
        """The message, or None for a repetition, a gap (it will be repeated) or a bare acknowledgement.

        Raises:
            ProtocolError: not for this study, or not a control message.
        """
        envelope = decode_envelope(encoded)
        check_identity(envelope, self._identity)
        while self._unacknowledged and self._unacknowledged[0][0] <= envelope.acknowledged:
            self._unacknowledged.popleft()
            self._waits_since, self._pause_s = None, REPEAT_AFTER_S
        if envelope.number == 0:
            return None if isinstance(envelope.message, Acknowledge) else envelope.message
        self._owes_acknowledgement = True
        if self._joins_late:
            self._joins_late, self._received = False, envelope.number - 1
        if envelope.number != self._received + 1:
            return None
        self._received += 1
        return envelope.message

    def due(self, now: float) -> list[bytes]:
        """What must be sent now: overdue messages again, or a bare acknowledgement."""
        if self._unacknowledged:
            if self._waits_since is None:
                self._waits_since = now
            if now - self._waits_since >= self._pause_s:
                self._waits_since, self._pause_s = now, min(2 * self._pause_s, _LONGEST_PAUSE_S)
                return [self._envelope(*kept) for kept in islice(self._unacknowledged, _MOST_REPEATED)]
        if self._owes_acknowledgement:
            return [self._envelope(0, Acknowledge())]
        return []

    @property
    def settled(self) -> bool:
        """Whether everything posted has been acknowledged."""
        return not self._unacknowledged

    def _envelope(self, number: int, message: ControlMessage) -> bytes:
        self._owes_acknowledgement = False
        return encode_envelope(
            Envelope(
                version=CONTROL_VERSION,
                study=self._identity.study,
                secret=self._identity.secret,
                launcher_incarnation=self._identity.launcher_incarnation,
                number=number,
                acknowledged=self._received,
                message=message,
            )
        )
