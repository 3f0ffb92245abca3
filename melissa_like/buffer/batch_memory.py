"""`BatchMemory`: contiguous memory of some samples; a storage is one as long as its slots, a batch a short one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.labels import NUM_KEYS, num_labels
from melissa_like.records import Layout

__all__ = ["BatchMemory", "allocate", "rows_within"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchMemory:
    """Memory of up to B samples, each a time step or a window of L of them.

    What is not a field lies in one row of labels per sample, so that a batch needs one copy for all of it. The labels
    are int64, and the floating-point columns are views of their bits.

    Attributes:
        labels: int64 [B, 2 + L + P]: simulation, (first) step, and the bits of times and parameters.
        fields: by name, [B, *shape] in the storage dtype; of windows [B, L, *shape].
        window_length: L; None: the samples are single steps, and have no such axis.
    """

    labels: torch.Tensor
    fields: dict[str, torch.Tensor]
    window_length: int | None = None

    def first(self, num_rows: int) -> "BatchMemory":
        """The memory of its first samples."""
        return self.like(lambda values: values[:num_rows])

    def for_piece(self, num_rows: int, nbytes: int) -> "BatchMemory":
        """Memory that some saved samples can be read into."""
        return self.first(num_rows)

    def choose(self, chosen: npt.NDArray[np.int64]) -> "BatchMemory":
        """Copies of the samples at some positions."""
        return self.like(partial(torch.index_select, dim=0, index=torch.from_numpy(chosen)))

    def like(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "BatchMemory":
        """The same with each of its tensors changed, all in the same way."""
        return BatchMemory(
            labels=change(self.labels),
            fields={name: change(values) for name, values in self.fields.items()},
            window_length=self.window_length,
        )

    def like_on(self, device: torch.device) -> "BatchMemory":
        """Memory for as many samples elsewhere."""
        return self.like(lambda values: torch.empty_like(values, device=device))

    def copy_from(self, other: "BatchMemory", num_rows: int) -> None:
        """Copy the first samples of another memory; from pinned memory to a device it returns at once."""
        for target, source in zip(self.tensors, other.tensors, strict=True):
            target[:num_rows].copy_(source[:num_rows], non_blocking=True)

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
        """View, float64 [B]; of windows [B, L]."""
        if self.window_length is None:
            return self.labels[:, NUM_KEYS].view(torch.float64)
        return self.labels[:, NUM_KEYS : NUM_KEYS + self.window_length].view(torch.float64)

    @cached_property
    def parameters(self) -> torch.Tensor:
        """View, float64 [B, P]."""
        return self.labels[:, NUM_KEYS + (self.window_length or 1) :].view(torch.float64)

    @cached_property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The labels, then the fields in the order of the layout."""
        return (self.labels, *self.fields.values())

    @cached_property
    def rows(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Views of host memory: `tensors` as bytes, [B, bytes of a sample]."""
        return tuple(tensor.flatten(1).numpy().view(np.uint8) for tensor in self.tensors)


def rows_within(layout: Layout, nbytes: int, *, window_length: int | None = None) -> int:
    """Samples that take no more memory than this, labels included; at least one."""
    num_steps = window_length or 1
    return max(1, nbytes // (num_steps * layout.sample_nbytes + 8 * num_labels(layout, window_length)))


def allocate(
    layout: Layout,
    num_rows: int,
    *,
    device: torch.device,
    pinned: bool = False,
    window_length: int | None = None,
) -> BatchMemory:
    """Memory of some samples, not initialized.

    Args:
        layout: of the study.
        num_rows: samples B.
        device: where.
        pinned: host memory that a CUDA device can copy from by itself.
        window_length: time steps of a sample; None: one, without an axis for it.
    """
    steps = () if window_length is None else (window_length,)

    def empty(dtype: str, *shape: int) -> torch.Tensor:
        if pinned or device.type != "cpu":
            return torch.empty((num_rows, *shape), dtype=getattr(torch, dtype), device=device, pin_memory=pinned)
        # Unlike torch, numpy asks the system for huge pages: rows drawn at random are gathered up to a fifth faster.
        return torch.from_numpy(np.empty((num_rows, *shape), dtype))

    return BatchMemory(
        labels=empty("int64", num_labels(layout, window_length)),
        fields={field.name: empty(field.dtype, *steps, *field.shape) for field in layout.fields},
        window_length=window_length,
    )
