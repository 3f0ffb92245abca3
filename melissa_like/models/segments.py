"""Rows of several samples that follow one another: which sample a row is of, and sums and means of each.

Offsets are int64 [B + 1]: sample b has the rows offsets[b] to before offsets[b + 1].
"""

import torch
from torch import Tensor

__all__ = ["sample_of_row", "segment_max", "segment_mean", "segment_sum"]


def sample_of_row(offsets: Tensor) -> Tensor:
    """The number of the sample that each row is of, int64 [ΣN]."""
    samples = torch.arange(len(offsets) - 1, device=offsets.device)
    return samples.repeat_interleave(offsets.diff())


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """The sum of the rows of each sample, from [ΣN, ...] to [B, ...]; 0 without rows."""
    return _reduced(values, offsets, "sum")


def segment_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """The mean of the rows of each sample, from [ΣN, ...] to [B, ...]; 0 without rows."""
    counts = offsets.diff().clamp_min(1).to(values.dtype)
    return _reduced(values, offsets, "sum") / counts.view(-1, *(1,) * (values.ndim - 1))


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """The largest of the rows of each sample, from [ΣN, ...] to [B, ...]; each sample has one at least."""
    return _reduced(values, offsets, "max")


def _reduced(values: Tensor, offsets: Tensor, reduction: str) -> Tensor:
    # Unsafe: not to look at the offsets, which would wait for the device.
    made: Tensor = torch.segment_reduce(values.contiguous(), reduction, offsets=offsets, axis=0, unsafe=True)
    return made
