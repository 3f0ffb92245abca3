"""`Extract`: some held-out samples of one moment, and the batches that are made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from melissa_like.loading import Batch, batch_from_samples, fields_from_samples
from melissa_like.records import Layout, Sample

__all__ = ["Extract", "HeldOutSample"]

#: The time steps of a sample, the earliest first; a sample that is one step has one.
HeldOutSample: TypeAlias = tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Extract:
    """Samples by simulation and step: the order of arrivals must not change a sum.

    Attributes:
        layout: of the study.
        samples: all of as many time steps.
        has_windows: batches have an axis of time steps.
    """

    layout: Layout
    samples: Sequence[HeldOutSample]
    has_windows: bool

    def chunks(self, chunk_size: int) -> "Iterator[Extract]":
        """Parts of it that hold so many time steps at most, or one sample."""
        num_steps = len(self.samples[0]) if self.samples else 1
        most = max(1, chunk_size // num_steps)
        for start in range(0, len(self.samples), most):
            yield Extract(self.layout, self.samples[start : start + most], self.has_windows)

    def steps(self, first: int, behind: int) -> "Extract":
        """Of each sample the time steps from one place to before another."""
        return Extract(self.layout, [sample[first:behind] for sample in self.samples], self.has_windows)

    def batch(self, device: torch.device) -> Batch:
        """All of it as a batch; its memory is new."""
        return batch_from_samples(self.samples, self.layout, has_windows=self.has_windows, device=device)

    def fields(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Those of the batch alone: not everything that does not change with time once more for each time step."""
        made = fields_from_samples(self.samples, self.layout, has_windows=self.has_windows)
        return {name: values.to(device) for name, values in made.items()}
