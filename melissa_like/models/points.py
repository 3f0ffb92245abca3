"""What networks on meshes that differ share: features of points, conditions of samples, and both kinds of targets."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from melissa_like.models.mlp import perceptron
from melissa_like.models.problem import Problem
from melissa_like.models.refusals import leaving_out
from melissa_like.models.segments import segment_max, segment_mean

__all__ = ["PointInputs", "PointOutputs", "common_extent"]


def common_extent(problem: Problem, family: str) -> str:
    """The extent that all fields of a problem lie on which are not of a fixed size.

    Args:
        problem: of the network.
        family: of networks, for the message.

    Raises:
        ValueError: there is none, or there are several.
    """
    shapes = {f"the field {name!r}": shape.extent for name, shape in problem.fields.items()}
    shapes |= {f"the target {name!r}": shape.extent for name, shape in problem.targets.items()}
    found = {what: extent for what, extent in shapes.items() if extent is not None}
    if not found:
        raise ValueError(
            f"{family} is for fields whose number of points differs between simulations, and all of these are of a "
            "fixed size: take MessagePassing, or name an extent in the shape of a field"
        )
    if len(set(found.values())) != 1:
        told = ", ".join(f"{what} on {extent}" for what, extent in found.items())
        raise ValueError(f"{family} needs all fields on one extent and has {told}: choose others")
    return next(iter(found.values()))


class PointInputs:
    """What a network is given, as features of points [ΣN, num_features] and conditions of samples [B, num_conditions].

    Features are fields and static data on the points; conditions are parameters, time, and whatever is of a fixed size.
    Static data that all simulations share tells nothing, and numbers of points are no values: both are left out.

    Args:
        problem: of the network.
        coordinates: name of the static data that says where the points are.
        family: of networks, for the messages.

    Raises:
        ValueError: fields on several extents or on none, no such coordinates, or static data on another extent.
    """

    def __init__(self, problem: Problem, coordinates: str, family: str) -> None:
        self.extent = common_extent(problem, family)
        values = {name: shape for name, shape in problem.static.items() if shape.indexes is None}
        known = [name for name, shape in values.items() if shape.extent == self.extent]
        if coordinates not in known:
            raise ValueError(
                f"{family} needs to know where the points are, and there is no static data {coordinates!r} on "
                f"{self.extent}: let the solver send it (solver.static), or write model.coordinates as one of "
                f"{', '.join(known) or '(there is none)'}"
            )
        if others := [name for name, shape in values.items() if shape.extent not in (None, self.extent)]:
            raise ValueError(
                f"{family} works on the points of {self.extent}, and the static data {', '.join(others)} lie on other "
                f"ones: {leaving_out(problem, others)}, or let the solver send them on the points"
            )
        self.coordinates = coordinates
        self.dimension = values[coordinates].components
        self._at_points = [name for name, shape in problem.fields.items() if shape.extent is not None]
        self._of_samples = [name for name, shape in problem.fields.items() if shape.extent is None]
        self._static_at_points = known
        self._static_of_samples = [n for n, shape in values.items() if shape.extent is None and not shape.shared]
        self.num_features = sum(problem.fields[name].size for name in self._at_points)
        self.num_features += sum(values[name].size for name in known)
        self.num_conditions = len(problem.parameters) + problem.time
        self.num_conditions += sum(problem.fields[name].size for name in self._of_samples)
        self.num_conditions += sum(values[name].size for name in self._static_of_samples)

    def __call__(
        self,
        offsets: Mapping[str, Tensor],
        static: Mapping[str, Tensor],
        fields: Mapping[str, Tensor] | None,
        parameters: Tensor | None,
        time: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Features of points and conditions of samples."""
        fields = fields or {}
        features = [fields[name] for name in self._at_points] + [static[name] for name in self._static_at_points]
        given = [] if parameters is None else [parameters]
        if time is not None:
            given.append(time.unsqueeze(1))
        given += [fields[name].flatten(1) for name in self._of_samples]
        given += [static[name].flatten(1) for name in self._static_of_samples]
        none = features[0].new_empty(len(offsets[self.extent]) - 1, 0)
        return torch.cat(features, dim=1), torch.cat([none, *given], dim=1)


class PointOutputs(nn.Module):
    """Targets from features of points: those on the points by a perceptron, those of samples from what all points have.

    The latter see the mean and the largest of each feature, and the conditions: the drag is a sum over points, the peak
    of a stress a maximum.

    Args:
        problem: of the network.
        hidden: features of a point.
        num_conditions: of a sample.
        activation: makes an activation.
    """

    def __init__(self, problem: Problem, hidden: int, num_conditions: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        targets = problem.targets
        self._at_points = {name: shape.components for name, shape in targets.items() if shape.extent is not None}
        self._of_samples = {name: shape for name, shape in targets.items() if shape.extent is None}
        self.at_points = perceptron([hidden, hidden, sum(self._at_points.values())], activation)
        num_numbers = sum(shape.size for shape in self._of_samples.values())
        # Without such targets there is no layer: one without a gradient would be refused where ranks are joined.
        widths = [2 * hidden + num_conditions, hidden, num_numbers]
        self.of_samples = perceptron(widths, activation) if num_numbers else None

    def forward(self, features: Tensor, conditions: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        """[ΣN, C] or [B, C, *grid] by target field, from features [ΣN, hidden] and conditions [B, num_conditions]."""
        parts = torch.split(self.at_points(features), list(self._at_points.values()), dim=1)
        made = dict(zip(self._at_points, parts, strict=True))
        if self.of_samples is not None:
            seen = torch.cat([segment_mean(features, offsets), segment_max(features, offsets), conditions], dim=1)
            numbers = torch.split(self.of_samples(seen), [shape.size for shape in self._of_samples.values()], dim=1)
            for (name, shape), part in zip(self._of_samples.items(), numbers, strict=True):
                made[name] = part.reshape(-1, shape.components, *shape.grid)
        return made
