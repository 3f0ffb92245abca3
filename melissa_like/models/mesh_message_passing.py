"""Message passing on meshes that differ from sample to sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from melissa_like.models.neighbourhoods import Neighbourhood, nearest, of_elements, within
from melissa_like.models.points import PointInputs, PointOutputs
from melissa_like.models.problem import Problem
from melissa_like.models.segments import sample_of_row, segment_mean

__all__ = ["MeshMessagePassing"]

_FAMILY = "MeshMessagePassing"


class MeshMessagePassing(nn.Module):
    """A network whose points send each other messages along the edges of a mesh, each sample with a mesh of its own.

    The graph network of Brandstetter, Worrall and Welling, "Message Passing Neural PDE Solvers" (ICLR 2022, arXiv
    2202.03376, equations 7 to 9), with the encoder, rounds and decoder of Pfaff et al., "Learning Mesh-Based Simulation
    with Graph Networks" (ICLR 2021, arXiv 2010.03409). With the fields u and the static data s at a point, its
    position x among them, and the parameters and time θ of the sample:

        f_i ← encoder(u_i, s_i, θ)
        m_ij = φ(f_i, f_j, x_i − x_j, |x_i − x_j|)
        f_i ← norm(f_i + ψ(f_i, mean over j of m_ij, mean over all points of f, θ))
        target at i ← decoder(f_i)

    φ, ψ, encoder and decoder are perceptrons of two layers. The mean over all points is the global attribute of
    Battaglia et al. (2018, arXiv 1806.01261): through it a point hears in one round of what is far away, as it must
    where the equation is elliptic; messages alone come as many edges far as there are rounds. The offsets x_i − x_j
    are in units of the root mean square length of the sample's edges. Targets of a fixed size, such as the drag, are
    made of the mean and the largest of each feature over the points.

    Neighbours are the corners of an element of `connectivity`, or are found from the coordinates in every call, on the
    CPU: for large meshes let the solver send edges, [2, num_edges].

    Good values: hidden 32 to 128, 4 to 10 layers; without connectivity 6 neighbours in two dimensions, 12 in three.
    Time and memory grow with edges · hidden.

    Args:
        problem: what it is given and what it returns.
        hidden: features of each point and message.
        layers: rounds of messages.
        coordinates: name of the static data that says where the points are.
        connectivity: name of the static data that numbers the corners of elements; null: the only one that there is,
            unless `neighbours` or a `radius` is given.
        neighbours: of each point, those that are nearest, instead.
        radius: of the neighbourhood instead, in units of the normalized coordinates, which are the deviation along each
            axis.
        activation: makes an activation; called for each place that needs one.

    Raises:
        ValueError: fields on several extents, or all of a fixed size; no such coordinates or connectivity; more than
            one way to neighbours, or none; a size below 1.
    """

    def __init__(
        self,
        problem: Problem,
        hidden: int = 64,
        layers: int = 6,
        coordinates: str = "coordinates",
        connectivity: str | None = None,
        neighbours: int | None = None,
        radius: float | None = None,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        if min(hidden, layers) < 1:
            raise ValueError(f"{_FAMILY} has {hidden} hidden features and {layers} layers: give 1 or more")
        self.inputs = PointInputs(problem, coordinates, _FAMILY)
        self._connectivity = _connectivity_of(problem, self.inputs.extent, connectivity, neighbours, radius)
        self._near = _near(neighbours, radius)
        num_conditions = self.inputs.num_conditions
        self.encoder = nn.Sequential(
            nn.Linear(self.inputs.num_features + num_conditions, hidden), activation(), nn.Linear(hidden, hidden)
        )
        self.layers = nn.ModuleList(
            _Round(hidden, num_conditions, self.inputs.dimension, activation) for _ in range(layers)
        )
        self.decoder = PointOutputs(problem, hidden, num_conditions, activation)

    def forward(
        self,
        *,
        offsets: Mapping[str, Tensor],
        static: Mapping[str, Tensor],
        fields: Mapping[str, Tensor] | None = None,
        parameters: Tensor | None = None,
        time: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Normalized target fields, [ΣN, C], or [B, C, *grid] of a fixed size, from normalized inputs."""
        given, conditions = self.inputs(offsets, static, fields, parameters, time)
        mesh = self._mesh(offsets[self.inputs.extent], static)
        features = self.encoder(torch.cat([given, conditions[mesh.samples]], dim=1))
        for layer in self.layers:
            features = layer(features, conditions, mesh)
        made: dict[str, Tensor] = self.decoder(features, conditions, mesh.offsets)
        return made

    def _mesh(self, offsets: Tensor, static: Mapping[str, Tensor]) -> "_Mesh":
        places = static[self.inputs.coordinates]
        if self._connectivity is not None:
            edges = of_elements(static[self._connectivity], len(places))
        else:
            assert self._near is not None
            edges = self._near(places, offsets)
        return _mesh_of(edges, places, offsets)


@dataclass(frozen=True, slots=True)
class _Mesh:
    """The meshes of all samples of a batch.

    Attributes:
        offsets: of the samples in the points, [B + 1].
        samples: that points are of, [ΣN].
        receivers: of messages, ascending, [E].
        senders: of messages, [E].
        received: offsets of the points in the messages, [ΣN + 1].
        directions: from sender to receiver, and the length of that, [E, d + 1].
    """

    offsets: Tensor
    samples: Tensor
    receivers: Tensor
    senders: Tensor
    received: Tensor
    directions: Tensor


def _mesh_of(edges: Tensor, places: Tensor, offsets: Tensor) -> _Mesh:
    samples = sample_of_row(offsets)
    receivers, senders = edges
    counts = torch.bincount(receivers, minlength=len(places))
    received = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    directions = places[receivers] - places[senders]
    squares = directions.square().sum(1)
    # The edges of a sample follow one another: they are sorted by receiver.
    unit = segment_mean(squares, received[offsets]).clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
    scaled = torch.cat([directions, squares.sqrt().unsqueeze(1)], dim=1) / unit[samples[receivers]].unsqueeze(1)
    return _Mesh(offsets, samples, receivers, senders, received, scaled)


class _Round(nn.Module):
    """Messages between neighbours, and what each point makes of them.

    The first layer of φ is linear in what it is given, so its parts are computed per point; the second is linear in
    what is averaged, so it is computed per point too.
    """

    def __init__(self, hidden: int, num_conditions: int, dimension: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.receiver = nn.Linear(hidden, hidden)
        self.sender = nn.Linear(hidden, hidden, bias=False)
        self.direction = nn.Linear(dimension + 1, hidden, bias=False)
        self.message = nn.Linear(hidden, hidden)
        self.update_own = nn.Linear(2 * hidden, hidden)
        self.update_sample = nn.Linear(hidden + num_conditions, hidden, bias=False)
        self.update = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.activation = activation()

    def forward(self, features: Tensor, conditions: Tensor, mesh: _Mesh) -> Tensor:
        """New features, [ΣN, hidden]."""
        toward = self.receiver(features).index_select(0, mesh.receivers)
        sent = self.sender(features).index_select(0, mesh.senders)
        inner = self.activation(toward + sent + self.direction(mesh.directions))
        received = self.message(segment_mean(inner, mesh.received))
        sample = self.update_sample(torch.cat([segment_mean(features, mesh.offsets), conditions], dim=1))
        updated = self.update_own(torch.cat([features, received], dim=1)) + sample.index_select(0, mesh.samples)
        normed: Tensor = self.norm(features + self.update(self.activation(updated)))
        return normed


def _connectivity_of(
    problem: Problem, extent: str, name: str | None, neighbours: int | None, radius: float | None
) -> str | None:
    """The name of the connectivity, None where neighbours are found from the coordinates.

    Raises:
        ValueError: no such one, or more than one way.
    """
    known = {each: shape for each, shape in problem.static.items() if shape.indexes == extent and shape.extent}
    given = [key for key in (name, neighbours, radius) if key is not None]
    told = f"connectivity is {name}, neighbours is {neighbours}, radius is {radius}"
    if len(given) > 1:
        raise ValueError(f"{_FAMILY}: {told}: give one of them, and null for the others")
    if given and name is None:
        return None
    chosen = next(iter(known)) if name is None and len(known) == 1 else name
    if chosen not in known:
        raise ValueError(
            f"{_FAMILY} needs neighbours: {told}, and the static data that numbers points of {extent} are "
            f"{', '.join(known) or '(none)'}: give one of these as connectivity, or neighbours, or a radius"
        )
    if known[chosen].components < 2:
        raise ValueError(f"{_FAMILY}: an element of {chosen!r} has one corner: give connectivity of 2 or more")
    return chosen


def _near(neighbours: int | None, radius: float | None) -> Neighbourhood | None:
    """How neighbours are found from the coordinates.

    Raises:
        ValueError: none to be found.
    """
    if neighbours is not None:
        if neighbours < 1:
            raise ValueError(f"{_FAMILY}: neighbours is {neighbours}: give 1 or more")
        return partial(nearest, neighbours=neighbours)
    if radius is not None:
        if not radius > 0:
            raise ValueError(f"{_FAMILY}: radius is {radius}: give a number above 0")
        return partial(within, radius=radius)
    return None
