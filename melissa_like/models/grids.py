"""What networks on a regular grid share: fields to channels, channels to fields, coordinates, convolutions."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from melissa_like.models.problem import FieldShape, Problem
from melissa_like.models.refusals import leaving_out, require_fixed_sizes

__all__ = [
    "GridInputs",
    "GridOutputs",
    "Pointwise",
    "common_grid",
    "convolution",
    "grid_points",
    "over_grid",
    "periodic_coordinates",
]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def common_grid(problem: Problem, family: str, *, inputs: bool = True) -> tuple[int, ...]:
    """The grid of all fields of a problem.

    Args:
        problem: of the network.
        family: of networks, for the message.
        inputs: whether the input fields have to lie on it too.

    Raises:
        ValueError: fields on several grids or of no fixed size, or a grid that has not one to three axes.
    """
    require_fixed_sizes(problem, family)
    shapes = {f"the field {name!r}": shape.grid for name, shape in problem.fields.items() if inputs}
    shapes |= {f"the target {name!r}": shape.grid for name, shape in problem.targets.items()}
    found = ", ".join(f"{what} on {grid}" for what, grid in shapes.items())
    if len(set(shapes.values())) != 1:
        which = "all fields" if inputs else "all targets"
        raise ValueError(f"{family} needs {which} on one grid and has {found}: choose others, or MLP")
    (grid,) = set(shapes.values())
    if not 1 <= len(grid) <= 3:
        raise ValueError(f"{family} needs a grid of 1, 2 or 3 axes and has {found}: take MLP")
    return grid


def grid_points(grid: tuple[int, ...], *, periodic: bool) -> Tensor:
    """Coordinates of a regular grid, [d, *grid], in double precision, from 0 to 1 along each axis.

    On a periodic axis the first point is the next one after the last: its coordinate 1 is that of no point.
    """
    double = torch.float64
    axes = [torch.arange(n, dtype=double) / n if periodic else torch.linspace(0, 1, n, dtype=double) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def periodic_coordinates(points: Tensor, axis: int) -> Tensor:
    """Cosines, then sines, of coordinates of period 1: continuous where one period ends and the next begins."""
    return torch.cat([torch.cos(2 * math.pi * points), torch.sin(2 * math.pi * points)], dim=axis)


def over_grid(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """One value per sample and channel, [B, C], as channels that are constant on the grid, [B, C, *grid]."""
    return values[(...,) + (None,) * len(grid)].expand(-1, -1, *grid)


def convolution(
    before: int, after: int, dimension: int, *, kernel: int, periodic: bool, stride: int = 1, groups: int = 1
) -> nn.Module:
    """A convolution on a grid of 1, 2 or 3 axes that keeps its size, or divides it by the stride and rounds up.

    Args:
        before: channels that it is given.
        after: channels that it returns.
        dimension: axes of the grid.
        kernel: its width, odd.
        periodic: what lies beyond the edge is the other side; else zeros.
        stride: grid points between outputs.
        groups: of channels that do not see each other.
    """
    around = kernel // 2
    kind = _CONVOLUTIONS[dimension]
    if not periodic:
        return kind(before, after, kernel, stride=stride, padding=around, groups=groups)
    return nn.Sequential(_Wrap(around), kind(before, after, kernel, stride=stride, groups=groups))


class _Wrap(nn.Module):
    """Continues a periodic grid beyond its edges. As a concatenation it costs less than torch's circular padding."""

    def __init__(self, around: int) -> None:
        super().__init__()
        self._around = around

    def forward(self, values: Tensor) -> Tensor:
        for axis in range(2, values.ndim):
            ends = values.narrow(axis, 0, self._around), values.narrow(axis, -self._around, self._around)
            values = torch.cat([ends[1], values, ends[0]], dim=axis)
        return values


class Pointwise(nn.Linear):
    """The same affine map at every point: from [B, before, *grid] to [B, after, *grid].

    As a product of matrices it is two to six times as fast on a CPU as a convolution of width 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map the channels of each point."""
        flat = input.flatten(2)
        weight = self.weight.expand(flat.shape[0], -1, -1)
        return torch.unflatten(torch.baddbmm(self.bias.unsqueeze(1), weight, flat), 2, input.shape[2:])


class GridInputs(nn.Module):
    """Input fields, coordinates and static data as channels, parameters and time as conditions.

    Args:
        problem: of the network.
        points: coordinates of the grid, [d, *grid]; on a periodic one its period is 1 along each axis.
        periodic: whether it is; then coordinates are given as cosines and sines.
        coordinates: whether they are channels; None: where a network could not tell places apart or the place
            matters, so without input fields and on grids that are not periodic.

    Raises:
        ValueError: neither input fields nor coordinates, or static data that lie on no such grid.
    """

    def __init__(self, problem: Problem, points: Tensor, *, periodic: bool, coordinates: bool | None = None) -> None:
        super().__init__()
        if not ((not problem.fields or not periodic) if coordinates is None else coordinates):
            places = points[:0]
        elif periodic:
            places = periodic_coordinates(points, 0)
        else:
            places = points
        self.register_buffer("coordinates", places.float(), persistent=False)
        self.num_field_channels = sum(shape.components for shape in problem.fields.values())
        self._static = _on_grid(problem, tuple(points.shape[1:]))
        self.num_channels = self.num_field_channels + len(places) + sum(self._static.values())
        if not self.num_channels:
            raise ValueError(
                "coordinates is false and the problem has no input fields, so the network could not tell one place "
                "from another: leave `coordinates` out, or let the task give fields"
            )
        self.num_conditions = len(problem.parameters) + problem.time

    def forward(
        self,
        fields: Mapping[str, Tensor] | None,
        parameters: Tensor | None,
        time: Tensor | None,
        static: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Channels [B, num_channels, *grid] and conditions [B, num_conditions] (parameters, then time).

        Static data that all simulations share are [C, *grid], others [B, C, *grid].
        """
        channels = list(fields.values()) if fields else []
        given = [] if parameters is None else [parameters]
        if time is not None:
            given.append(time.unsqueeze(1))
        samples = (channels or given)[0].shape[0]  # not len(): an export would take it for a constant
        coordinates = cast(Tensor, self.coordinates)
        if len(coordinates):
            channels.append(coordinates.expand(samples, *coordinates.shape))
        for name in self._static:
            values = (static or {})[name]
            channels.append(values.expand(samples, *values.shape[-coordinates.ndim :]))
        return torch.cat(channels, dim=1), torch.cat(given, dim=1) if given else channels[0].new_empty(samples, 0)


class GridOutputs:
    """Channels, cut into the target fields of a problem."""

    def __init__(self, targets: Mapping[str, FieldShape]) -> None:
        self._components = {name: shape.components for name, shape in targets.items()}
        self.num_channels = sum(self._components.values())

    def __call__(self, channels: Tensor) -> dict[str, Tensor]:
        """From [B, num_channels, *grid] to [B, C, *grid] by target field."""
        # One field is not cut: the gradient of a cut is another pass over all of it.
        parts = (
            (channels,) if len(self._components) == 1 else torch.split(channels, list(self._components.values()), dim=1)
        )
        return dict(zip(self._components, parts, strict=True))


def _on_grid(problem: Problem, grid: tuple[int, ...]) -> dict[str, int]:
    """The components of static data, by name.

    Raises:
        ValueError: some lie on another grid, or are numbers of points.
    """
    wrong = [name for name, shape in problem.static.items() if shape.grid != grid or shape.indexes is not None]
    if wrong:
        raise ValueError(
            f"a network on the grid {grid} sees static data on this grid, and {', '.join(wrong)} are something else: "
            f"{leaving_out(problem, wrong)}"
        )
    return {name: shape.components for name, shape in problem.static.items()}
