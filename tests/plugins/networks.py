"""A network on a grid: it reads all that it needs from the problem."""

import math

import torch
from torch import nn

from melissa_like.models import Problem


class GridNetwork(nn.Module):
    """Parameters and time are lifted to channels on the grid, mixed by convolutions, and read out per target field.

    All target fields lie on the same grid, of two dimensions.
    """

    def __init__(self, problem: Problem, channels: int = 8) -> None:
        super().__init__()
        (self.grid,) = {shape.grid for shape in problem.targets.values()}
        self.lift = nn.Linear(problem.num_inputs, channels * math.prod(self.grid))
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.heads = nn.ModuleDict(
            {name: nn.Conv2d(channels, shape.components, 3, padding=1) for name, shape in problem.targets.items()}
        )

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> dict[str, torch.Tensor]:
        lifted = self.lift(torch.cat([parameters, time.unsqueeze(1)], dim=1)).view(len(time), -1, *self.grid)
        mixed = torch.tanh(self.mix(torch.tanh(lifted)))
        return {name: head(mixed) for name, head in self.heads.items()}
