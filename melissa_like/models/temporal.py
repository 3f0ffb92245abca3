"""From the features of a point to several time steps at once."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from melissa_like.models.problem import FieldShape

__all__ = ["TemporalDecoder"]

_CHANNELS = 8


class TemporalDecoder(nn.Module):
    """Two 1-D convolutions over the features of a point, whose output has one value per time step and component.

    Temporal bundling of Brandstetter et al. (ICLR 2022, section 3.1): neighbouring steps come from neighbouring
    features, so they are alike. The same weights serve all points.

    Args:
        hidden: features of a point.
        targets: fields to be made; all of as many time steps.
        activation: called once, between the convolutions.

    Raises:
        ValueError: fields of different numbers of steps, or of more steps than features.
    """

    def __init__(self, hidden: int, targets: Mapping[str, FieldShape], activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        found = {name: shape.steps for name, shape in targets.items()}
        if len(set(found.values())) != 1:
            raise ValueError(f"the targets have {found} time steps: a bundle needs as many for each")
        (steps,) = set(found.values())
        if steps > hidden:
            raise ValueError(f"{steps} time steps are made of {hidden} hidden features: give {steps} or more features")
        self._components = {name: shape.components // steps for name, shape in targets.items()}
        # In between there are twice as many places as steps, where the features suffice for it.
        between = min(2 * steps, hidden)
        stride = hidden // between
        self.layers = nn.Sequential(
            nn.Conv1d(1, _CHANNELS, hidden - stride * (between - 1), stride=stride),
            activation(),
            nn.Conv1d(_CHANNELS, sum(self._components.values()), between - steps + 1),
        )

    def forward(self, features: Tensor, grid: tuple[int, ...]) -> dict[str, Tensor]:
        """From [N, B, hidden] to [B, steps · C, *grid] by target field, the components of the first step first."""
        points, samples, hidden = features.shape
        made = self.layers(features.reshape(points * samples, 1, hidden))
        made = made.view(points, samples, *made.shape[1:])
        found, start = {}, 0
        for name, components in self._components.items():
            part = made[:, :, start : start + components].permute(1, 3, 2, 0)
            found[name] = part.reshape(samples, -1, *grid)
            start += components
        return found
