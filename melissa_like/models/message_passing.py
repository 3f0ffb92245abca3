"""The message-passing solver of Brandstetter, Worrall and Welling."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from melissa_like.models.graphs import Positions, near_points, points_of
from melissa_like.models.grids import GridInputs, common_grid
from melissa_like.models.problem import Problem
from melissa_like.models.temporal import TemporalDecoder

__all__ = ["MessagePassing"]


class MessagePassing(nn.Module):
    """A neural solver whose points send each other messages: any set of points, on a grid or not.

    Brandstetter, Worrall and Welling, "Message Passing Neural PDE Solvers" (ICLR 2022, arXiv 2202.03376). With the
    fields u of all given steps at a point, its position x, and the parameters and time θ:

        f_i ← encoder(u_i, x_i, θ)                                          equation 7
        m_ij = φ(f_i, f_j, u_i - u_j, x_i - x_j, θ)                         equation 8
        f_i ← norm(f_i + ψ(f_i, mean over j of m_ij, θ))                    equation 9
        u_i at the next steps ← 1-D convolutions over the features f_i      the decoder of section 3.1

    φ and ψ are perceptrons of two layers. All time steps of the targets (`FieldShape.steps`) are predicted at once:
    temporal bundling. What is predicted is what the task asks for, so increments are the task's choice (`residual`).
    The absolute position is left out on a periodic domain, so that the network commutes with its translations.

    Good values: hidden 64 to 128, 6 layers, 6 neighbours in one dimension and 8 in two, bundles of 5 to 25 steps. Time
    and memory grow with points · neighbours · hidden.

    Args:
        problem: what it is given and what it returns.
        hidden: features of each point and message; at least as many as bundled steps.
        layers: rounds of messages; so far does a point see.
        neighbours: of each point, at least; null if a radius is given.
        radius: of the neighbourhood instead, in units of the positions.
        positions: of the points, [N, d]: numbers, or the path of an .npy file; null: the regular grid of the fields.
        lengths: of the domain along each axis; null: 1 each, or what the positions cover if they are not periodic.
        periodic: whether the domain is; on a regular grid the first point then comes after the last.
        coordinates: whether positions are given to the encoder; null: without input fields, or if not periodic.
        activation: makes an activation; called for each place that needs one.

    Raises:
        ValueError: fields on several grids; targets of different numbers of steps; more steps than hidden features;
            positions, lengths, neighbours or a radius that do not fit; a size below 1; neither input fields
            nor coordinates.
        OSError: the file of positions cannot be read.
    """

    def __init__(
        self,
        problem: Problem,
        hidden: int = 64,
        layers: int = 6,
        neighbours: int | None = 6,
        radius: float | None = None,
        positions: Positions | None = None,
        lengths: Sequence[float] | None = None,
        periodic: bool = True,
        coordinates: bool | None = None,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        grid = common_grid(problem, "MessagePassing")
        if min(hidden, layers) < 1:
            raise ValueError(f"MessagePassing has {hidden} hidden features and {layers} layers: give 1 or more")
        points, sides, places = points_of(grid, positions, lengths, periodic=periodic)
        graph = near_points(points, sides, neighbours=neighbours, radius=radius, periodic=periodic)
        self.register_buffer("neighbours", graph.neighbours, persistent=False)
        self.register_buffer("weights", graph.weights[..., None, None], persistent=False)
        self.register_buffer("offsets", graph.offsets[:, :, None], persistent=False)

        self.inputs = GridInputs(problem, places.T.reshape(-1, *grid), periodic=periodic, coordinates=coordinates)
        num_fields, num_conditions = self.inputs.num_field_channels, self.inputs.num_conditions
        self.encoder = nn.Sequential(
            nn.Linear(self.inputs.num_channels + num_conditions, hidden),
            activation(),
            nn.Linear(hidden, hidden),
            activation(),
        )
        self.layers = nn.ModuleList(
            _Round(hidden, num_fields, num_conditions, points.shape[1], activation) for _ in range(layers)
        )
        self.decoder = TemporalDecoder(hidden, problem.targets, activation)
        self._num_fields = num_fields
        self._grid = grid

    def forward(
        self,
        *,
        fields: Mapping[str, Tensor] | None = None,
        parameters: Tensor | None = None,
        time: Tensor | None = None,
        static: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Normalized target fields, [B, steps · C, *grid] each, from normalized inputs."""
        channels, conditions = self.inputs(fields, parameters, time, static)
        # Points first: a neighbour's row, of all samples, then lies in one piece.
        values = channels.flatten(2).permute(2, 0, 1)
        features = self.encoder(torch.cat([values, conditions.expand(values.shape[0], -1, -1)], dim=2))
        values = values[..., : self._num_fields]
        for layer in self.layers:
            features = layer(features, values, conditions, self._graph())
        made: dict[str, Tensor] = self.decoder(features, self._grid)
        return made

    def _graph(self) -> tuple[Tensor, Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor, Tensor], (self.neighbours, self.weights, self.offsets))


class _Round(nn.Module):
    """Messages between neighbours and what each point makes of them, equations 8 and 9.

    The first layer of φ is linear in what it is given, so its parts are computed per point, not per message.
    """

    def __init__(
        self, hidden: int, num_fields: int, num_conditions: int, dimension: int, activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.receiver = nn.Linear(hidden, hidden)
        self.sender = nn.Linear(hidden, hidden, bias=False)
        self.difference = _linear(num_fields, hidden)
        self.offset = nn.Linear(dimension, hidden, bias=False)
        self.message_conditions = _linear(num_conditions, hidden)
        self.message = nn.Linear(hidden, hidden)
        self.update_own = nn.Linear(2 * hidden, hidden)
        self.update_conditions = _linear(num_conditions, hidden)
        self.update = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.activation = activation()

    def forward(
        self, features: Tensor, values: Tensor, conditions: Tensor, graph: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """New features, [N, B, hidden]."""
        neighbours, weights, offsets = graph
        difference = self.difference(values)
        toward = self.receiver(features) + difference + self.message_conditions(conditions)
        sent = (self.sender(features) - difference).index_select(0, neighbours.flatten())
        sent = sent.view(*neighbours.shape, *sent.shape[1:])
        messages = self.activation(self.message(self.activation(toward.unsqueeze(1) + sent + self.offset(offsets))))
        received = (messages * weights).sum(1)
        updated = self.update_own(torch.cat([features, received], dim=2)) + self.update_conditions(conditions)
        normed: Tensor = self.norm(features + self.activation(self.update(self.activation(updated))))
        return normed


def _linear(before: int, after: int) -> nn.Module:
    return nn.Linear(before, after, bias=False) if before else _Nothing()


class _Nothing(nn.Module):
    """A linear map of nothing: zero."""

    def forward(self, values: Tensor) -> Tensor:
        return values.new_zeros(())
