"""Where the samples lie: one preallocated, contiguous tensor per field, one row per slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.records import FloatArray, Layout, SampleKey

__all__ = ["BatchMemory", "Storage"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchMemory:
    """Reused host memory of up to B samples; see `melissa_like.loading.Batch` for the columns.

    Attributes:
        simulations: int64 [B].
        steps: int64 [B].
        times: float64 [B].
        parameters: float64 [B, P].
        fields: by name, [B, *shape] in the storage dtype.
    """

    simulations: torch.Tensor
    steps: torch.Tensor
    times: torch.Tensor
    parameters: torch.Tensor
    fields: dict[str, torch.Tensor]

    @property
    def columns(self) -> dict[str, torch.Tensor]:
        """All but the fields, by name."""
        return {
            "simulations": self.simulations,
            "steps": self.steps,
            "times": self.times,
            "parameters": self.parameters,
        }


def _allocate(layout: Layout, num_rows: int, *, pinned: bool) -> BatchMemory:
    def empty(dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.empty((num_rows, *shape), dtype=dtype, pin_memory=pinned)

    return BatchMemory(
        simulations=empty(torch.int64),
        steps=empty(torch.int64),
        times=empty(torch.float64),
        parameters=empty(torch.float64, len(layout.parameters)),
        fields={field.name: empty(getattr(torch, field.dtype), *field.shape) for field in layout.fields},
    )


class Storage:
    """Rows for samples of one shape per field. Knows nothing of who may use which row when.

    Args:
        layout: of the study.
        num_slots: rows.
    """

    def __init__(self, layout: Layout, num_slots: int) -> None:
        self.layout = layout
        self.num_slots = num_slots
        self._rows = _allocate(layout, num_slots, pinned=False)
        self._field_views = tuple(rows.numpy() for rows in self._rows.fields.values())
        self._column_views = {name: rows.numpy() for name, rows in self._rows.columns.items()}

    def fields_of(self, slot: int) -> tuple[npt.NDArray[Any], ...]:
        """Writable views of one row, in the order of the layout."""
        return tuple(rows[slot] for rows in self._field_views)

    def label(self, slot: int, key: SampleKey, time: float, parameters: FloatArray) -> None:
        """Write what is not a field."""
        views = self._column_views
        views["simulations"][slot] = key.simulation
        views["steps"][slot] = key.step
        views["times"][slot] = time
        views["parameters"][slot] = parameters

    def batch_memory(self, num_rows: int, *, pinned: bool) -> BatchMemory:
        """Memory that `gather` can fill; pinned memory needs a CUDA device."""
        return _allocate(self.layout, num_rows, pinned=pinned)

    def gather(self, slots: Sequence[int], out: BatchMemory) -> None:
        """Copy rows to the beginning of `out`: one gather per field, without the interpreter lock."""
        index = torch.from_numpy(np.asarray(slots, dtype=np.int64))
        for source, target in (
            *zip(self._rows.columns.values(), out.columns.values(), strict=True),
            *zip(self._rows.fields.values(), out.fields.values(), strict=True),
        ):
            torch.index_select(source, 0, index, out=target[: len(slots)])

    def scatter(self, rows: BatchMemory, num_rows: int) -> None:
        """Write the first rows of a memory to the slots 0, 1, 2 ...: the inverse of `gather`, for a restart."""
        for source, target in (
            *zip(rows.columns.values(), self._rows.columns.values(), strict=True),
            *zip(rows.fields.values(), self._rows.fields.values(), strict=True),
        ):
            target[:num_rows].copy_(source[:num_rows])
