"""`Pins`: which slots somebody copies out of, so that nothing may be written there."""

from collections.abc import Sequence

import numpy as np

from melissa_like.buffer.slots import SlotArray

__all__ = ["Pins"]


class Pins:
    """Slots pinned by numbered *holds*; a slot is pinned as long as one hold on it is not released.

    Holds come and go with every batch, while the question whether a slot is pinned is asked once per put. So a hold
    only stamps its number on its slots, and one that is released in the order of the holds, as a loader does, touches
    none of them: a slot is pinned if the hold whose number it carries, its last one, still stands.

    A checkpoint keeps slots for seconds, while thousands of holds come and go: these slots are counted by themselves.

    Args:
        num_slots: slots there are.
    """

    def __init__(self, num_slots: int) -> None:
        self._last_hold: SlotArray = np.zeros(num_slots, np.int64)
        self._holds: dict[int, SlotArray] = {}
        self._number = 0
        self._at_most = 0
        self._num_kept = np.zeros(num_slots, np.uint8)

    def hold(self, slots: SlotArray | Sequence[int]) -> int:
        """Pin slots, of which some may come twice; the number of the hold."""
        self._number += 1
        slots = np.asarray(slots, np.int64)
        self._holds[self._number] = slots
        self._last_hold[slots] = self._number
        self._at_most += len(slots)
        return self._number

    def release(self, number: int) -> None:
        """Release a hold, in any order.

        Raises:
            KeyError: there is no such hold, or it was released before.
        """
        in_order = next(iter(self._holds), None) == number
        slots = self._holds.pop(number)
        self._at_most -= len(slots)
        if not in_order:  # an older hold may stand on the same slots
            for older, held in self._holds.items():
                self._last_hold[held] = older

    def keep(self, slots: SlotArray) -> None:
        """Pin slots, each of which comes once, until they are `let_go` as often as they were kept."""
        self._num_kept[slots] += 1
        self._at_most += len(slots)

    def let_go(self, slots: SlotArray) -> None:
        """The reader of these has copied them; each comes once."""
        self._num_kept[slots] -= 1
        self._at_most -= len(slots)

    def __contains__(self, slot: int) -> bool:
        return bool(self._num_kept[slot]) or int(self._last_hold[slot]) in self._holds

    @property
    def at_most(self) -> int:
        """No more slots than this are pinned; fewer if holds share slots."""
        return self._at_most

    def unpinned(self, slots: SlotArray) -> SlotArray:
        """Which of these slots are not pinned."""
        slots = slots[self._num_kept[slots] == 0]
        return slots[~np.isin(self._last_hold[slots], list(self._holds))]
