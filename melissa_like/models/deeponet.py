"""The deep operator network."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from melissa_like.models.graphs import Positions, points_of
from melissa_like.models.grids import GridOutputs, common_grid, periodic_coordinates
from melissa_like.models.mlp import perceptron
from melissa_like.models.problem import Problem
from melissa_like.models.refusals import require_fixed_sizes, require_no_static

__all__ = ["DeepONet"]


class DeepONet(nn.Module):
    """A deep operator network: what is given chooses coefficients, where and when chooses the functions.

    u_c(x, t) = Σ_k b_ck(fields, parameters) τ_k(x, t) + β_c: equation 2 of Lu et al., "Learning nonlinear operators via
    DeepONet" (Nature Machine Intelligence 3, 2021, arXiv 1910.03193). The branch b is a perceptron of the flattened
    input fields and the parameters, the trunk τ one of the coordinates and the time. Components share the trunk: each
    has coefficients of its own. Input fields may lie on any grids, targets on one, which may be any set of points.

    It is for smooth fields as functions of parameters or of an initial state; what moves needs many functions.

    Good values: 64 to 128 functions, two or three hidden layers of 128 to 256 in both.

    Args:
        problem: what it is given and what it returns.
        functions: how many of them there are.
        branch: width of each hidden layer of the branch.
        trunk: width of each hidden layer of the trunk.
        positions: of the points, [N, d]: numbers, or the path of an .npy file; null: a regular grid.
        lengths: of the domain along each axis; null: 1 each, or what the positions cover if they are not periodic.
        periodic: whether the domain is; then the trunk sees cosines and sines.
        activation: makes an activation; called for each place that needs one.

    Raises:
        ValueError: targets on several grids, or on one without axes or with more than three; neither fields nor
            parameters; fields of no fixed size, or static data; positions or lengths that do not fit; a width below 1.
        OSError: the file of positions cannot be read.
    """

    def __init__(
        self,
        problem: Problem,
        functions: int = 64,
        branch: Sequence[int] = (128, 128),
        trunk: Sequence[int] = (128, 128),
        positions: Positions | None = None,
        lengths: Sequence[float] | None = None,
        periodic: bool = True,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        require_fixed_sizes(problem, "DeepONet")
        require_no_static(problem, "DeepONet")
        grid = common_grid(problem, "DeepONet", inputs=False)
        num_given = problem.num_inputs - problem.time
        if not num_given:
            raise ValueError(
                "the branch of DeepONet takes fields or parameters and this problem has neither: let the task give some"
            )
        if min(functions, *branch, *trunk) < 1:
            raise ValueError(
                f"DeepONet has {functions} functions and the widths {list(branch)} and {list(trunk)}: give 1 or more"
            )
        _, _, places = points_of(grid, positions, lengths, periodic=periodic)
        places = periodic_coordinates(places, 1) if periodic else places
        self.register_buffer("places", places.float(), persistent=False)
        self.outputs = GridOutputs(problem.targets)
        coordinates = cast(Tensor, self.places).shape[1]
        self.branch = perceptron([num_given, *branch, functions * self.outputs.num_channels], activation)
        # The functions are activated once more, as in the paper.
        self.trunk = nn.Sequential(
            perceptron([coordinates + problem.time, *trunk, functions], activation), activation()
        )
        self.bias = nn.Parameter(torch.zeros(self.outputs.num_channels, 1))
        self._shape = (self.outputs.num_channels, functions)
        self._grid = grid

    def forward(
        self,
        *,
        fields: Mapping[str, Tensor] | None = None,
        parameters: Tensor | None = None,
        time: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Normalized target fields, [B, C, *grid] each, from normalized inputs."""
        given = [values.flatten(1) for values in fields.values()] if fields else []
        if parameters is not None:
            given.append(parameters)
        coefficients = torch.unflatten(self.branch(torch.cat(given, dim=1)), 1, self._shape)
        places = cast(Tensor, self.places)
        if time is not None:
            points = places.expand(time.shape[0], -1, -1)
            places = torch.cat([points, time[:, None, None].expand(-1, points.shape[1], 1)], dim=2)
        values = coefficients @ self.trunk(places).transpose(-1, -2) + self.bias
        return self.outputs(torch.unflatten(values, 2, self._grid))
