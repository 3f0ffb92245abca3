"""`HeldOutSimulation`: what is known of one simulation, for whoever looks at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading import Batch, batch_from_samples
from melissa_like.records import Layout, Sample

__all__ = ["HeldOutSimulation"]

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutSimulation:
    """The time steps that this rank holds of one held-out simulation.

    Attributes:
        layout: of the study.
        samples: a time step each, ascending; one at least.
    """

    layout: Layout
    samples: tuple[Sample, ...]

    @property
    def simulation(self) -> int:
        """Its number."""
        return self.samples[0].key.simulation

    @property
    def parameters(self) -> dict[str, float]:
        """By name, in the order of the layout."""
        return dict(zip(self.layout.parameters, self.samples[0].parameters.tolist(), strict=True))

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of its time steps."""
        return tuple(sample.key.step for sample in self.samples)

    @property
    def times(self) -> tuple[float, ...]:
        """The physical time of each step."""
        return tuple(sample.time for sample in self.samples)

    @property
    def fields(self) -> dict[str, npt.NDArray[Any]]:
        """By name, [T, *shape] in the storage dtype; copied."""
        return {
            spec.name: np.stack([sample.fields[index] for sample in self.samples])
            for index, spec in enumerate(self.layout.fields)
        }

    @property
    def static(self) -> Mapping[str, npt.NDArray[Any]]:
        """What does not change with time, by name: its own, and what all simulations share."""
        shared = {wide.spec.name: wide.values for wide in self.layout.study_wide}
        own = self.samples[0].static
        return shared if own is None else shared | own.arrays

    def batch(self, position: int) -> Batch:
        """One of its time steps as a batch of one, on the CPU."""
        return batch_from_samples([[self.samples[position]]], self.layout, has_windows=False, device=_CPU)

    def whole(self) -> Batch:
        """All of it as a batch of one window, on the CPU."""
        return batch_from_samples([self.samples], self.layout, has_windows=True, device=_CPU)
