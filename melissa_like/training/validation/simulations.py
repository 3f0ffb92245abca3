"""`HeldOutSimulation`: what is known of one simulation, for whoever looks at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch

from melissa_like.loading import Batch

__all__ = ["HeldOutSimulation"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutSimulation:
    """The time steps that this rank holds of one held-out simulation.

    Attributes:
        simulation: its number.
        parameters: by name, in the order of the layout.
        steps: ascending.
        times: physical time of each step.
        fields: by name, [T, *shape] in the storage dtype.
    """

    simulation: int
    parameters: Mapping[str, float]
    steps: tuple[int, ...]
    times: tuple[float, ...]
    fields: Mapping[str, npt.NDArray[Any]]

    def batch(self, position: int) -> Batch:
        """One of its time steps as a batch of one, on the CPU."""
        return Batch(
            simulations=torch.tensor([self.simulation]),
            steps=torch.tensor([self.steps[position]]),
            times=torch.tensor([self.times[position]], dtype=torch.float64),
            parameters=torch.tensor([list(self.parameters.values())], dtype=torch.float64),
            fields={name: torch.from_numpy(values[position : position + 1]) for name, values in self.fields.items()},
        )

    def whole(self) -> Batch:
        """All of it as a batch of one window, on the CPU."""
        return Batch(
            simulations=torch.tensor([self.simulation]),
            steps=torch.tensor([self.steps[0]]),
            times=torch.tensor([self.times], dtype=torch.float64),
            parameters=torch.tensor([list(self.parameters.values())], dtype=torch.float64),
            fields={name: torch.from_numpy(values[None]) for name, values in self.fields.items()},
        )
