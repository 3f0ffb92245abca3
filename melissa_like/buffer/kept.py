"""`KeptSamples`: what a buffer held at one moment, copied out piece by piece and let go as it is."""

from collections.abc import Callable, Iterator

from melissa_like.buffer.copying import SavedRows
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

    def pieces(self, most_nbytes: int) -> Iterator[SavedRows]:
        """Copies of the samples in their order, on the host; samples are let go when copied.

        A piece is good until the next one is asked for. The first ones are short: as long as all samples are kept, a
        put into a full buffer waits.

        Args:
            most_nbytes: of a piece; one sample at least.
        """
        copying = self._storage.copying(self._slots, most_nbytes)
        nbytes = most_nbytes // _FIRST
        while len(self._slots):
            num_rows = copying.num_within(self._slots, nbytes)
            taken, self._slots = self._slots[:num_rows], self._slots[num_rows:]
            try:
                piece = copying.copy(taken)
            finally:
                self._say_let_go(taken)
            yield piece
            nbytes = min(2 * nbytes, most_nbytes)

    def let_go(self) -> None:
        """The samples that are not copied yet will not be."""
        slots, self._slots = self._slots, self._slots[:0]
        self._say_let_go(slots)
