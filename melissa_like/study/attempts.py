"""An execution of a simulation that is in progress: how much of it has arrived, and when the last of it did."""

from operator import ge

import msgspec

from melissa_like.records import Purpose

__all__ = ["Attempt"]


class Attempt(msgspec.Struct, kw_only=True, gc=False):
    """The present execution of a simulation.

    Attributes:
        parts_received: per server rank.
        parts_sent: what its goodbye said, once it has; None before.
        started_at: when it was given to its job.
        progressed_at: when something of it last arrived.
    """

    simulation: int
    number: int
    purpose: Purpose
    job: str
    parts_received: list[int]
    parts_sent: tuple[int, ...] | None = None
    started_at: float
    progressed_at: float

    def receive(self, rank: int, num_parts: int, now: float) -> None:
        """Take a server rank's report."""
        self.parts_received[rank] += num_parts
        self.progressed_at = now

    @property
    def all_parts_arrived(self) -> bool:
        """Whether every part that the goodbye counted was received; False before the goodbye."""
        sent = self.parts_sent
        return sent is not None and all(map(ge, self.parts_received, sent))
