"""`KeptSamples`: what a buffer held at one moment, copied out piece by piece and let go as it is."""

from collections.abc import Callable, Iterator

import torch

from melissa_like.buffer.batch_memory import BatchMemory, allocate, rows_within
from melissa_like.buffer.slots import SlotArray
from melissa_like.buffer.state import BufferState
from melissa_like.buffer.storage import Storage

__all__ = ["KeptSamples"]


#: The first piece is so many times shorter than the longest; each one after it is twice as long.
_FIRST = 64


class KeptSamples:
    """The samples of `SampleBuffer.keep`; one thread uses it, any.

    Attributes:
        state: of the buffer at that moment.

    Args:
        state: as above.
        slots: of the samples, in the order of the state.
        storage: that they lie in.
        let_go: says that slots are copied.
    """

    def __init__(
        self, state: BufferState, slots: SlotArray, *, storage: Storage, let_go: Callable[[SlotArray], None]
    ) -> None:
        self.state = state
        self._slots = slots
        self._storage = storage
        self._say_let_go = let_go

    def pieces(self, most_nbytes: int) -> Iterator[BatchMemory]:
        """Copies of the samples in their order, each piece in the same host memory; samples are let go when copied.

        The first pieces are short: as long as all samples are kept, a put into a full buffer waits.

        Args:
            most_nbytes: of a piece; one sample at least.
        """
        layout, length = self._storage.layout, self._storage.window_length
        most_rows = rows_within(layout, most_nbytes, window_length=length)
        num_memory = min(most_rows, len(self._slots))
        memory = allocate(layout, num_memory, device=torch.device("cpu"), window_length=length)
        num_rows = max(1, most_rows // _FIRST)
        while len(self._slots):
            taken, self._slots = self._slots[:num_rows], self._slots[num_rows:]
            piece = memory.first(len(taken))
            try:
                self._storage.read(taken, piece)
            finally:
                self._say_let_go(taken)
            yield piece
            num_rows = min(2 * num_rows, most_rows)

    def let_go(self) -> None:
        """The samples that are not copied yet will not be."""
        slots, self._slots = self._slots, self._slots[:0]
        self._say_let_go(slots)
