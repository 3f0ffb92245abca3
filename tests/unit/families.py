"""The families of networks, small, and tiny problems for them: shared by the tests on CPU and GPU."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from melissa_like.models import FNO, MLP, DeepONet, FieldShape, MessagePassing, Problem, UNet

__all__ = ["FAMILIES", "GRIDS", "fit", "forced", "inputs_of", "smooth", "target_of"]

GRIDS = {1: (16,), 2: (8, 10), 3: (6, 7, 8)}

#: Each is called with a problem; small enough for a second of training.
FAMILIES: Mapping[str, Callable[[Problem], nn.Module]] = {
    "MLP": lambda problem: MLP(problem, hidden=[64]),
    "FNO": lambda problem: FNO(problem, modes=3, channels=12, layers=2, projection=16),
    "UNet": lambda problem: UNet(problem, channels=8, multipliers=(1, 2)),
    "DeepONet": lambda problem: DeepONet(problem, functions=16, branch=[64], trunk=[32]),
    "MessagePassing": lambda problem: MessagePassing(problem, hidden=24, layers=3, neighbours=2),
}


def forced(grid: tuple[int, ...], *, steps: int = 1) -> Problem:
    """Two fields of one and of two components, two parameters and the time, to two fields."""
    return Problem(
        fields={"u": FieldShape(2 * steps, grid, steps=steps), "force": FieldShape(1, grid)},
        parameters=("a", "b"),
        time=True,
        targets={"u": FieldShape(2 * steps, grid, steps=steps), "pressure": FieldShape(1, grid)},
    )


def smooth(samples: int, components: int, grid: tuple[int, ...]) -> Tensor:
    """Random periodic fields of wave numbers 0 and 1, [B, C, *grid]."""
    values = torch.zeros(samples, components, *grid)
    for axis, points in enumerate(grid):
        angle = 2 * math.pi * torch.arange(points) / points
        waves = torch.stack([torch.cos(angle), torch.sin(angle), torch.ones(points)])
        along = torch.randn(samples, components, 3) @ waves
        values = values + along.view(samples, components, *(points if a == axis else 1 for a in range(len(grid))))
    return values


def inputs_of(problem: Problem, samples: int) -> dict[str, object]:
    """What a network of the problem is called with."""
    given: dict[str, object] = {}
    if problem.fields:
        given["fields"] = {name: smooth(samples, s.components, s.grid) for name, s in problem.fields.items()}
    if problem.parameters:
        given["parameters"] = torch.randn(samples, len(problem.parameters))
    if problem.time:
        given["time"] = torch.rand(samples)
    return given


def target_of(problem: Problem, given: Mapping[str, object]) -> dict[str, Tensor]:
    """Something to learn: the field u grows with the first parameter, and so does the pressure with the force."""
    fields, parameters = given["fields"], given["parameters"]
    assert isinstance(fields, dict)
    assert isinstance(parameters, Tensor)
    dimension = len(problem.targets["u"].grid)
    growth = (1 + 0.5 * parameters[:, 0]).view(-1, 1, *(1,) * dimension)
    return {"u": growth * fields["u"], "pressure": growth * fields["force"]}


def fit(
    network: nn.Module, given: Mapping[str, object], target: Mapping[str, Tensor], steps: int
) -> tuple[float, float]:
    """The mean squared error before and after some steps of Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        made = network(**given)
        loss = torch.stack([(made[name] - values).square().mean() for name, values in target.items()]).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]
