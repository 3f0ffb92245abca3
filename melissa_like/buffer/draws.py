"""What a buffer offers, what is drawn of it, and what it counts."""

from dataclasses import dataclass

from melissa_like.buffer.slots import SlotArray

__all__ = ["Draw", "Offer", "Population"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be drawn.

    Attributes:
        available: draws that may be made now.
        held: draws that could be made if the watermark were lifted.
        put_waits: a put found no room, and neither has one succeeded since, nor a training step ended.
        reception_over: nothing more will be put.
        unsettled: there are draws whose training step has not ended, and may make room when it has.
    """

    available: int
    held: int
    put_waits: bool
    reception_over: bool
    unsettled: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """A provisional draw: its samples are pinned until it is settled.

    Attributes:
        slots: int64 [n], one per sample; the same one may come twice.
        removed: which of them this draw removed.
        hold: its number among the pins.
    """

    slots: SlotArray
    removed: frozenset[int]
    hold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Counters of a buffer. `unseen` are samples held whose first training step has not ended.

    Where the sizes of samples differ, the capacity is in bytes: `capacity` says how many samples of the sizes so far
    that is, and the bytes are those of the samples and their static fields. They are 0 elsewhere.
    """

    capacity: int
    size: int
    seen: int
    unseen: int
    puts: int
    draws: int
    evicted: int
    removed: int
    nbytes: int = 0
    capacity_nbytes: int = 0
    static_nbytes: int = 0
