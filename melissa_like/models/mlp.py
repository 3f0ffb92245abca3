"""The fully connected network of the SC'23 study."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """A multilayer perceptron: affine layers with an activation between them, none after the last.

    6-256-256-N with ReLU is the direct surrogate of the heat equation in Meyer et al., "High Throughput Training of
    Deep Surrogates from Large Ensemble Runs" (SC'23, arXiv 2309.16743): five temperatures and the step index in, the
    whole field out. Good values: two or three hidden layers of 128 to 512.

    Args:
        num_inputs: features per sample I.
        num_outputs: numbers per sample N.
        hidden: width of each hidden layer; empty makes one affine map.
        activation: called once per hidden layer, e.g. `torch.nn.GELU`.

    Raises:
        ValueError: a width below 1.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [num_inputs, *hidden, num_outputs]
        if min(widths) < 1:
            raise ValueError(f"the layers of the MLP have the widths {widths}: give 1 or more for each")
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, num_inputs] to [B, num_outputs], both normalized."""
        outputs: torch.Tensor = self.layers(inputs)
        return outputs
