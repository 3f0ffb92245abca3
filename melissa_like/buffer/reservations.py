"""`Reservations`: the memory that samples are assembled in before they are put."""

from collections.abc import Mapping
from threading import RLock

import msgspec

from melissa_like.buffer.occupancy import Occupancy
from melissa_like.buffer.storage import SampleFields, Storage
from melissa_like.records import Layout

__all__ = ["Opened", "Reservations"]

_MOST_KEPT = 64


class Opened(msgspec.Struct, eq=False):
    """Memory that one sample is assembled in.

    Attributes:
        fields: an array per field, in the order of the layout, global shape; of a window one more axis in front.
        slot: where they will lie; None: they are copied to one that is free when there is room.
        extents: the sizes that they are of.
        is_written: the sample lies in its slot and only waits for room.
    """

    fields: SampleFields
    slot: int | None
    extents: Mapping[str, int] | None = None
    is_written: bool = False


class Reservations:
    """Of one buffer; the receiving thread's, but for what its lock guards.

    Args:
        storage: of the buffer.
        occupancy: of the buffer.
        lock: of the buffer.
    """

    def __init__(self, storage: Storage, occupancy: Occupancy, lock: RLock) -> None:
        self._storage = storage
        self._occupancy = occupancy
        self._lock = lock
        self._reserved: dict[tuple[int, int], Opened] = {}  # by simulation and step: cheaper to look up than a key
        self._extents: dict[int, Mapping[str, int]] = {}
        self._kept: list[SampleFields] = []

    def begin(self, simulation: int, layout: Layout) -> None:
        """The sizes of a simulation, from now on."""
        self._extents[simulation] = layout.sizes

    def reserve(self, simulation: int, step: int) -> SampleFields:
        """Memory for a sample: the same again, unless its simulation has other sizes now."""
        opened = self._reserved.get((simulation, step))
        extents = self._extents.get(simulation) if self._extents else None
        if opened is None or opened.extents != extents:
            opened = self._reserved[simulation, step] = self.open(extents)
        else:
            opened.is_written = False
        return opened.fields

    def of(self, where: tuple[int, int]) -> Opened:
        """What is reserved for a simulation and step; KeyError: nothing is."""
        return self._reserved[where]

    def end(self, where: tuple[int, int]) -> None:
        """What is reserved was put."""
        del self._reserved[where]

    def forget(self, simulation: int) -> None:
        """All that is reserved for a simulation is free again."""
        for where in [where for where in self._reserved if where[0] == simulation]:
            self.give_back(where)
        self._extents.pop(simulation, None)

    def give_back(self, where: tuple[int, int]) -> None:
        """What is reserved, if anything is, is free again."""
        opened = self._reserved.pop(where, None)
        if opened is not None:
            self.abandon(opened)

    def open(self, extents: Mapping[str, int] | None = None) -> Opened:
        """Memory that nobody knows yet."""
        with self._lock:
            slot = self._occupancy.reserve()
            kept = self._kept.pop() if slot is None and self._kept else None
        return Opened(self._storage.open(slot, extents) if kept is None else kept, slot, extents)

    def abandon(self, opened: Opened) -> None:
        """It is not needed."""
        with self._lock:
            if opened.slot is not None:
                self._occupancy.abandon(opened.slot)
            else:
                self.keep(opened)

    def keep(self, opened: Opened) -> None:
        """With the lock held: memory that no slot stands for is used again, fresh memory costs its page faults."""
        if opened.extents is None and len(self._kept) < _MOST_KEPT:
            self._kept.append(opened.fields)
