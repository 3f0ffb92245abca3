"""Copies of slots for a checkpoint: what a storage gives of them, and how those of fixed size are made."""

from typing import Any, Protocol

import numpy.typing as npt
import torch

from melissa_like.buffer.batch_memory import BatchMemory, allocate, rows_within
from melissa_like.buffer.slots import SlotArray
from melissa_like.records import Layout

__all__ = ["Copying", "RowCopying", "RowsMemory", "SavedRows"]


class SavedRows(Protocol):
    """Some samples in host memory, as a file has them: a `BatchMemory`, or `RaggedRows`."""

    @property
    def labels(self) -> torch.Tensor:
        """int64 [B, 2 + L + P], as in `BatchMemory`."""

    @property
    def rows(self) -> tuple[npt.NDArray[Any], ...]:
        """All bytes, as contiguous arrays."""

    def choose(self, chosen: SlotArray) -> "SavedRows":
        """Only the samples at some positions."""


class RowsMemory(Protocol):
    """Host memory that saved samples can be read into: a `BatchMemory` for the longest piece, or `RowsToRead`."""

    def for_piece(self, num_rows: int, nbytes: int) -> Any:
        """Memory of a piece, `SavedRows` whose bytes are to be filled; good until the next call."""


class Copying(Protocol):
    """Copies slots piece by piece."""

    def num_within(self, slots: SlotArray, nbytes: int) -> int:
        """So many of the first slots take no more than this; at least one."""

    def copy(self, slots: SlotArray) -> Any:
        """Copies of slots, good until the next call."""


class Reads(Protocol):
    """A storage whose samples all have the same size."""

    @property
    def layout(self) -> Layout: ...

    @property
    def window_length(self) -> int | None: ...

    def read(self, slots: SlotArray, out: BatchMemory) -> None: ...


class RowCopying:
    """Copies rows of a storage to host memory, the same for each piece.

    Args:
        storage: of the rows.
        num_slots: that will be copied.
        most_nbytes: of a piece; one sample at least.
    """

    def __init__(self, storage: Reads, num_slots: int, most_nbytes: int) -> None:
        self._storage = storage
        self._memory = allocate(
            storage.layout,
            min(self._num_within(most_nbytes), num_slots),
            device=torch.device("cpu"),
            window_length=storage.window_length,
        )

    def num_within(self, slots: SlotArray, nbytes: int) -> int:
        """See `Copying`."""
        return min(self._num_within(nbytes), len(self._memory.labels))

    def copy(self, slots: SlotArray) -> BatchMemory:
        """See `Copying`."""
        piece = self._memory.first(len(slots))
        self._storage.read(slots, piece)
        return piece

    def _num_within(self, nbytes: int) -> int:
        return rows_within(self._storage.layout, nbytes, window_length=self._storage.window_length)
