"""`BatchMemory`: contiguous memory of some samples; a storage is one as long as its slots, a batch a short one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.records import Layout

__all__ = ["BatchMemory", "allocate", "rows_within"]

#: Columns of the labels before the parameters.
_NUM_COLUMNS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchMemory:
    """Memory of up to B samples.

    What is not a field lies in one row of labels per sample, so that a batch needs one copy for all of it. The labels
    are int64, and the floating-point columns are views of their bits.

    Attributes:
        labels: int64 [B, 3 + P]: simulation, step, and the bits of time and parameters.
        fields: by name, [B, *shape] in the storage dtype.
    """

    labels: torch.Tensor
    fields: dict[str, torch.Tensor]

    def first(self, num_rows: int) -> "BatchMemory":
        """The memory of its first samples."""
        return BatchMemory(
            labels=self.labels[:num_rows], fields={name: values[:num_rows] for name, values in self.fields.items()}
        )

    @cached_property
    def simulations(self) -> torch.Tensor:
        """View, int64 [B]."""
        return self.labels[:, 0]

    @cached_property
    def steps(self) -> torch.Tensor:
        """View, int64 [B]."""
        return self.labels[:, 1]

    @cached_property
    def times(self) -> torch.Tensor:
        """View, float64 [B]."""
        return self.labels[:, 2].view(torch.float64)

    @cached_property
    def parameters(self) -> torch.Tensor:
        """View, float64 [B, P]."""
        return self.labels[:, _NUM_COLUMNS:].view(torch.float64)

    @cached_property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The labels, then the fields in the order of the layout."""
        return (self.labels, *self.fields.values())

    @cached_property
    def rows(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Views of host memory: `tensors` as bytes, [B, bytes of a sample]."""
        return tuple(tensor.flatten(1).numpy().view(np.uint8) for tensor in self.tensors)


def rows_within(layout: Layout, nbytes: int) -> int:
    """Samples that take no more memory than this, labels included; at least one."""
    return max(1, nbytes // (layout.sample_nbytes + 8 * (_NUM_COLUMNS + len(layout.parameters))))


def allocate(layout: Layout, num_rows: int, *, device: torch.device, pinned: bool = False) -> BatchMemory:
    """Memory of some samples, not initialized.

    Args:
        layout: of the study.
        num_rows: samples B.
        device: where.
        pinned: host memory that a CUDA device can copy from by itself.
    """

    def empty(dtype: str, *shape: int) -> torch.Tensor:
        if pinned or device.type != "cpu":
            return torch.empty((num_rows, *shape), dtype=getattr(torch, dtype), device=device, pin_memory=pinned)
        # Unlike torch, numpy asks the system for huge pages: rows drawn at random are gathered up to a fifth faster.
        return torch.from_numpy(np.empty((num_rows, *shape), dtype))

    return BatchMemory(
        labels=empty("int64", _NUM_COLUMNS + len(layout.parameters)),
        fields={field.name: empty(field.dtype, *field.shape) for field in layout.fields},
    )
