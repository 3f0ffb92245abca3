"""Why a part is refused."""

from dataclasses import dataclass
from enum import StrEnum

from melissa_like.protocol.wire import Header

__all__ = ["Reason", "Refusal", "refusal_of"]


class Reason(StrEnum):
    """Why a part was refused. Some happen in a sound study, the others are a solver's fault (`Refusal.is_fault`)."""

    OTHER_STUDY = "of another study"
    OTHER_INCARNATION = "of another incarnation of the launcher or the server"
    OLD_ATTEMPT = "of an older attempt"
    OVER = "of a simulation that is over"
    NO_SIMULATION = "of a simulation that the study does not have"
    DUPLICATE_SAMPLE = "of a sample that is already complete"
    NOT_NEEDED = "of a time step that no window needs any more"
    NO_ATTEMPT = "of attempt 0, which there is not"
    NO_STEP = "of a time step that is out of range"
    TOO_MANY_STEPS = "of more time steps at once than a simulation has"
    WRONG_OWNER = "for another server rank"
    NOT_OPENED = "of a simulation that was not opened"
    UNREADABLE = "with a payload that cannot be read"
    NOT_WANTED = "of a purpose that nobody takes samples for"
    CONTRADICTION = "contradicting what its simulation was opened with"
    WRONG_PARAMETERS = "wrong number of parameters"
    WRONG_EXTENTS = "extents that cannot be"
    TOO_LARGE = "of a simulation that is too large"
    UNDECLARED_FIELD = "undeclared field"
    WRONG_LAYOUT = "other layout"
    WRONG_DTYPE = "wrong dtype"
    OUTSIDE = "box outside the global shape"
    SAME_BOX_TWICE = "same box twice"
    OVERLAP = "overlapping boxes"
    NO_LIST = "by an index list that did not come"
    WRONG_LIST = "by an index list that does not fit"
    NO_SUCH_POINT = "numbers of points that there are not"
    NOT_FINITE = "static fields that are not finite"
    OTHER_VALUES = "sent again with other values"

    @property
    def is_loss(self) -> bool:
        """Whether a message was lost on the way, as a reconnect may do, so that another attempt can do better."""
        return self in (Reason.NOT_OPENED, Reason.NO_LIST, Reason.UNREADABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A part that is not taken.

    Attributes:
        message: what, received, expected, do.
    """

    reason: Reason
    message: str
    simulation: int
    attempt: int
    client_rank: int

    @property
    def is_fault(self) -> bool:
        """Whether the attempt cannot go on: the solver broke its contract, or a message was lost; else harmless."""
        return self.reason not in _HARMLESS

    @property
    def counts_as_received(self) -> bool:
        """Whether the part was sent rightly to this rank and simply was not needed any more."""
        return self.reason in (Reason.DUPLICATE_SAMPLE, Reason.NOT_NEEDED)


_HARMLESS = frozenset(
    {
        Reason.OTHER_STUDY,
        Reason.OTHER_INCARNATION,
        Reason.NO_SIMULATION,
        Reason.OLD_ATTEMPT,
        Reason.OVER,
        Reason.DUPLICATE_SAMPLE,
        Reason.NOT_NEEDED,
    }
)


def refusal_of(header: Header, reason: Reason, detail: str) -> Refusal:
    """A refusal that names whom it is about."""
    return Refusal(
        reason=reason,
        message=f"client rank {header.client_rank} of simulation {header.simulation}: {detail}",
        simulation=header.simulation,
        attempt=header.attempt,
        client_rank=header.client_rank,
    )
