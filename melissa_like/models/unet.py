"""The U-Net."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor, cat, nn

from melissa_like.models.blocks import Attention, ResidualBlock, Up
from melissa_like.models.conditioning import Conditioned, ConditioningFactory, ConstantChannels
from melissa_like.models.grids import GridInputs, GridOutputs, common_grid, convolution, grid_points
from melissa_like.models.problem import Problem

__all__ = ["UNet"]


class UNet(nn.Module):
    """A U-Net with residual blocks on a regular grid of 1, 2 or 3 axes, of any size.

    On the way down each level has its blocks and halves the grid by a convolution of stride 2 (an odd number of points
    is rounded up); on the way up the grid is doubled again and each level sees what the same level made before.
    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (MICCAI 2015), in the form
    that Gupta and Brandstetter found best for flows: "Towards Multi-spatiotemporal-scale Generalized PDE Modeling"
    (TMLR 2023, arXiv 2209.15616): residual blocks, group norm, conditioning by scale and shift.

    On a periodic grid whose sizes the stride 2^(levels - 1) divides it commutes with translations by multiples of it.

    Good values: 16 channels and multipliers 1, 2, 4 up to 64² points; 64 channels and 1, 2, 2, 4 on a GPU.

    Args:
        problem: what it is given and what it returns.
        channels: of the finest level.
        multipliers: of the channels, per level; as many levels as numbers, one less halvings.
        blocks: per level, on each way.
        groups: of channels that are normalized together; null: no normalization in the blocks and
            before the last layer (attention has its own). It divides the channels.
        attention: whether all points of the coarsest level see each other.
        periodic: whether the grid is; if not, zeros lie around it, and coordinates are given as channels.
        coordinates: whether they are; None: where they are needed, so on other grids and without input fields.
        conditioning: how parameters and time come in: `ConstantChannels`, `ScaleAndShift`, `CAPE`, or yours.
        activation: makes an activation; called for each place that needs one.

    Raises:
        ValueError: fields on several grids, or on one without axes or with more than three; a grid that cannot be
            halved so often; channels that cannot be grouped; a size below 1; nothing to condition on; neither input
            fields nor coordinates.
    """

    def __init__(
        self,
        problem: Problem,
        channels: int = 16,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 1,
        groups: int | None = 4,
        attention: bool = False,
        periodic: bool = True,
        coordinates: bool | None = None,
        conditioning: ConditioningFactory = ConstantChannels,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        grid = common_grid(problem, "UNet")
        _check(grid, channels, multipliers, blocks, groups)
        dimension = len(grid)
        widths = [channels * multiplier for multiplier in multipliers]

        numbers = itertools.count()

        def level(before: int, after: int) -> nn.ModuleList:
            return nn.ModuleList(
                ResidualBlock(
                    before if block == 0 else after,
                    after,
                    dimension,
                    number=next(numbers),
                    periodic=periodic,
                    groups=groups,
                    activation=activation,
                )
                for block in range(blocks)
            )

        self.down = nn.ModuleList(level(*pair) for pair in itertools.pairwise([channels, *widths]))
        self.halvings = nn.ModuleList(
            convolution(width, width, dimension, kernel=3, periodic=periodic, stride=2) for width in widths[:-1]
        )
        self.attention = Attention(widths[-1], heads=1 if widths[-1] % 4 else 4) if attention else nn.Identity()
        upwards = widths[::-1]
        self.doublings = nn.ModuleList(Up(*pair) for pair in itertools.pairwise(upwards))
        self.up = nn.ModuleList(level(2 * width, width) for width in upwards[1:])

        points = grid_points(grid, periodic=periodic)
        self.inputs = GridInputs(problem, points, periodic=periodic, coordinates=coordinates)
        made = [width for width in (*widths, *upwards[1:]) for _ in range(blocks)]
        self.conditioning = conditioning(Conditioned.of(self.inputs, grid, periodic=periodic, widths=made))
        self.outputs = GridOutputs(problem.targets)
        self.first = convolution(self.conditioning.num_channels, channels, dimension, kernel=3, periodic=periodic)
        self.last = nn.Sequential(
            nn.Identity() if groups is None else nn.GroupNorm(groups, widths[0]),
            activation(),
            convolution(widths[0], self.outputs.num_channels, dimension, kernel=3, periodic=periodic),
        )

    def forward(
        self,
        *,
        fields: Mapping[str, Tensor] | None = None,
        parameters: Tensor | None = None,
        time: Tensor | None = None,
        static: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Normalized target fields, [B, C, *grid] each, from normalized inputs."""
        channels, embedding = self.conditioning.enter(*self.inputs(fields, parameters, time, static))
        hidden = self.first(channels)
        seen: list[Tensor] = []
        for number, level in enumerate(self.down):
            if number:
                seen.append(hidden)
                hidden = self.halvings[number - 1](hidden)
            for block in cast(nn.ModuleList, level):
                hidden = block(hidden, self.conditioning, embedding)
        hidden = self.attention(hidden)
        for double, level in zip(self.doublings, self.up, strict=True):
            before = seen.pop()
            hidden = cat([double(hidden, before.shape[2:]), before], dim=1)
            for block in cast(nn.ModuleList, level):
                hidden = block(hidden, self.conditioning, embedding)
        return self.outputs(self.last(hidden))


def _check(grid: tuple[int, ...], channels: int, multipliers: Sequence[int], blocks: int, groups: int | None) -> None:
    """Refuse sizes that make no U-Net.

    Raises:
        ValueError: as `UNet`.
    """
    if not multipliers or min(channels, blocks, *multipliers) < 1:
        raise ValueError(
            f"the UNet has {channels} channels, the multipliers {list(multipliers)} and {blocks} blocks per level: "
            "give one multiplier or more, and 1 or more for each number"
        )
    if groups is not None and (groups < 1 or channels % groups):
        raise ValueError(
            f"the UNet normalizes {groups} groups of its {channels} channels: give a number that divides them, or null"
        )
    halvings = len(multipliers) - 1
    if min(grid) <= 2**halvings:
        raise ValueError(
            f"the UNet halves the grid {grid} {halvings} times, which leaves one point of {min(grid)}: give fewer "
            "multipliers, or a finer grid"
        )
