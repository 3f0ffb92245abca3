"""What ranks of solver jobs and the launcher say to each other."""

import msgspec

from melissa_like.protocol.control.message import Message

__all__ = [
    "Assignment",
    "Blocked",
    "Failure",
    "Finish",
    "Followed",
    "Goodbye",
    "Hello",
    "Recomputes",
    "Refused",
    "Request",
    "Stop",
    "Welcome",
    "WireField",
]


# -- solver rank to launcher ------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True):
    """A solver job has started: said by rank 0, once. Another rank begins its own connection with `Blocked`."""

    num_ranks: int
    host: str
    pid: int


class Request(Message, frozen=True, kw_only=True):
    """Rank 0 is ready for a simulation."""


class Goodbye(Message, frozen=True, kw_only=True):
    """A simulation has sent all its steps: so many parts went to each server rank."""

    simulation: int
    attempt: int
    num_steps: int
    parts_sent: tuple[int, ...]


class Recomputes(Message, frozen=True, kw_only=True):
    """A sign of life, about once a second: steps that the server ranks hold already are computed again and not sent.

    Said by rank 0, not numbered: the next one replaces it.
    """

    simulation: int
    attempt: int


class Failure(Message, frozen=True, kw_only=True):
    """The solver raised: the traceback's last lines.

    Attributes:
        breaks_contract: it sent what its declaration does not allow, so that another attempt would do the same.
    """

    simulation: int
    attempt: int
    message: str
    breaks_contract: bool = False


class Followed(Message, frozen=True, kw_only=True):
    """A program that is followed has ended, for the report.

    Attributes:
        peak_bytes: the most that its folder held at once.
        num_files: that it left there.
        stopped_s: how long it was stopped, because too much waited to be sent.
    """

    simulation: int
    attempt: int
    peak_bytes: int
    num_files: int
    stopped_s: float


class Blocked(Message, frozen=True, kw_only=True):
    """A rank's send has been blocked for a heartbeat: is the study alive, and the server the same?"""

    server_rank: int


# -- launcher to solver rank ------------------------------------------------------------------------------------------


class WireField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of the layout, of those of a time step or of those that are sent once.

    Attributes:
        shape: (*grid) of a field of one component, (components, *grid) of a field of several; the last number is 0
            where each simulation says it.
        components: numbers per point of the grid.
        fill_value: to be sent for masked entries; None: they are an error.
        extent: name of the size that each simulation says for the last axis; None: it is fixed.
        indexes: the values are numbers of points, of this extent or of so many; None: they are none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    components: int = 1
    fill_value: float | None = None
    extent: str | None = None
    indexes: str | int | None = None


class Welcome(Message, frozen=True, kw_only=True):
    """The answer to `Hello`, and to `Blocked` while the study lives: where the fields go.

    Attributes:
        fields: of a time step.
        orphan_timeout_s: a job whose launcher lets a question wait for so long ends by itself.
        extents: names of the sizes that each simulation says when it begins.
        static: what a simulation sends once.
    """

    server_endpoints: tuple[str, ...]
    server_incarnation: int
    launcher_incarnation: int
    routing: int
    layout_id: int
    fields: tuple[WireField, ...]
    parameters: tuple[str, ...]
    num_steps: int | None
    budget_bytes: int
    heartbeat_s: float
    orphan_timeout_s: float
    extents: tuple[str, ...] = ()
    static: tuple[WireField, ...] = ()


class Refused(Message, frozen=True, kw_only=True):
    """The client is not part of the study; it ends with the reason."""

    reason: str


class Assignment(Message, frozen=True, kw_only=True):
    """The next simulation of a job.

    Attributes:
        delivered_steps: steps that the server ranks hold already and that need not be sent again, as ranges: the first
            and the one behind the last.
    """

    simulation: int
    attempt: int
    purpose: int
    parameters: tuple[float, ...]
    delivered_steps: tuple[tuple[int, int], ...]


class Finish(Message, frozen=True, kw_only=True):
    """No simulation is left for this job: it ends with exit code 0."""

    reason: str


class Stop(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The study is over for the receiver, at once.

    Attributes:
        save_within_s: how long a server rank may take to save what it has trained and to report; 0 to a solver rank.
    """

    reason: str
    save_within_s: float = 0.0
