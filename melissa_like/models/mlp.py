"""The fully connected network of the SC'23 study, and the perceptron that it is."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from melissa_like.models.problem import Problem
from melissa_like.models.refusals import require_fixed_sizes, require_no_static

__all__ = ["MLP", "perceptron"]


def perceptron(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Affine maps with an activation between them, none after the last.

    Args:
        widths: of what it is given, of each hidden layer, and of what it returns.
        activation: makes an activation; called for each place that needs one.
    """
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for before, after in itertools.pairwise(widths[1:]):
        layers += [activation(), nn.Linear(before, after)]
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """A multilayer perceptron: affine layers with an activation between them, none after the last.

    Its layers see the input fields flattened, then the parameters, then the time, as one row per sample; their output
    is cut into the target fields, in the order of the problem.

    6-256-256-N with ReLU is the direct surrogate of the heat equation in Meyer et al., "High Throughput Training of
    Deep Surrogates from Large Ensemble Runs" (SC'23, arXiv 2309.16743): five temperatures and the time step in, the
    whole field out. Good values: two or three hidden layers of 128 to 512.

    Args:
        problem: what it is given and what it returns.
        hidden: width of each hidden layer; empty makes one affine map.
        activation: makes an activation; called for each place that needs one, e.g. `torch.nn.GELU`.

    Raises:
        ValueError: a width below 1, fields of no fixed size, or static data.
    """

    def __init__(
        self,
        problem: Problem,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        require_fixed_sizes(problem, "MLP")
        require_no_static(problem, "MLP")
        widths = [problem.num_inputs, *hidden, problem.num_outputs]
        if min(widths) < 1:
            raise ValueError(f"the layers of the MLP have the widths {widths}: give 1 or more for each")
        self.layers = perceptron(widths, activation)
        self._shapes = {name: (shape.components, *shape.grid) for name, shape in problem.targets.items()}
        self._sizes = [shape.size for shape in problem.targets.values()]

    def forward(
        self,
        *,
        fields: Mapping[str, torch.Tensor] | None = None,
        parameters: torch.Tensor | None = None,
        time: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Normalized target fields, [B, C, *grid] each, from normalized inputs."""
        inputs = [] if fields is None else [values.flatten(1) for values in fields.values()]
        if parameters is not None:
            inputs.append(parameters)
        if time is not None:
            inputs.append(time.unsqueeze(1))
        flat = self.layers(torch.cat(inputs, dim=1))
        # One field is not cut: the gradient of a cut is another pass over all of it.
        parts = (flat,) if len(self._sizes) == 1 else torch.split(flat, self._sizes, dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}
