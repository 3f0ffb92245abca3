"""The Fourier neural operator."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from melissa_like.models.conditioning import Conditioned, ConditioningFactory, ConstantChannels
from melissa_like.models.grids import GridInputs, GridOutputs, Pointwise, common_grid, grid_points
from melissa_like.models.problem import Problem
from melissa_like.models.spectral import SpectralConvolution, modes_of

__all__ = ["FNO"]


class FNO(nn.Module):
    """A Fourier neural operator on a regular grid of 1, 2 or 3 axes.

    v ← σ(W v + F⁻¹(R · F v)) in each layer but the last, which has no σ, between a lifting P and a projection Q of
    single points: equations 2 to 5 of Li et al., "Fourier Neural Operator for Parametric Partial Differential
    Equations" (ICLR 2021, arXiv 2010.08895). R is kept for the lowest modes only, so the weights fit any grid that has
    these: those that were trained on one can be loaded into a network for another. On a periodic grid it commutes with
    translations.

    Good values: 16 to 64 channels, 4 layers, 12 to 16 modes (fewer than half of the points). For a field at the next
    step that is like the one before, let the task learn the increment.

    Args:
        problem: what it is given and what it returns.
        modes: wave numbers kept, 0 to modes - 1, and their negatives; one number for all axes, or one for each.
        channels: of its layers.
        layers: how many.
        projection: channels of the one hidden layer of Q.
        periodic: whether the grid is; if not, each axis is lengthened by a quarter before the first layer, and
            coordinates are given as channels.
        coordinates: whether they are; None: where they are needed, so on other grids and without input fields.
        conditioning: how parameters and time come in: `ConstantChannels`, `ScaleAndShift`, `CAPE`, or yours.
        activation: makes an activation; called for each place that needs one.

    Raises:
        ValueError: fields on several grids, or on one without axes or with more than three; more modes than the grid
            has; a size below 1; nothing to condition on; neither input fields nor coordinates.
    """

    def __init__(
        self,
        problem: Problem,
        modes: int | Sequence[int] = 12,
        channels: int = 32,
        layers: int = 4,
        projection: int = 64,
        periodic: bool = True,
        coordinates: bool | None = None,
        conditioning: ConditioningFactory = ConstantChannels,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        if min(channels, layers, projection) < 1:
            raise ValueError(
                f"the FNO has {channels} channels, {layers} layers and a projection of {projection}: give 1 or more"
            )
        grid = common_grid(problem, "FNO")
        beyond = [0 if periodic else -(-points // 4) for points in grid]
        whole = tuple(points + more for points, more in zip(grid, beyond, strict=True))
        kept = modes_of(modes, whole, "FNO")
        points = grid_points(grid, periodic=periodic)
        self.inputs = GridInputs(problem, points, periodic=periodic, coordinates=coordinates)
        self.conditioning = conditioning(
            Conditioned.of(self.inputs, grid, periodic=periodic, widths=[channels] * layers)
        )
        self.outputs = GridOutputs(problem.targets)
        self.lifting = Pointwise(self.conditioning.num_channels, channels)
        self.spectral = nn.ModuleList(SpectralConvolution(channels, channels, whole, kept) for _ in range(layers))
        self.pointwise = nn.ModuleList(Pointwise(channels, channels) for _ in range(layers))
        self.projection = nn.Sequential(
            Pointwise(channels, projection), activation(), Pointwise(projection, self.outputs.num_channels)
        )
        self.activation = activation()
        self._padding = [number for more in reversed(beyond) for number in (0, more)]
        self._grid = grid

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
        hidden = self.lifting(channels)
        if any(self._padding):
            hidden = functional.pad(hidden, self._padding)
        last = len(self.spectral) - 1
        for block, (spectral, pointwise) in enumerate(zip(self.spectral, self.pointwise, strict=True)):
            hidden = self.conditioning.modulate(block, spectral(hidden) + pointwise(hidden), embedding)
            if block < last:
                hidden = self.activation(hidden)
        if any(self._padding):
            for axis, points in enumerate(self._grid):
                hidden = hidden.narrow(2 + axis, 0, points)
        return self.outputs(self.projection(hidden))
