"""The bundled networks."""

import pytest
import torch
from torch import nn

from melissa_like.models import MLP


def test_the_default_is_the_network_of_the_paper() -> None:
    network = MLP(num_inputs=6, num_outputs=1000)
    widths = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
    assert widths == [(256, 6), (256, 256), (1000, 256)]
    assert [type(layer) for layer in network.layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert network(torch.zeros(3, 6)).shape == (3, 1000)


def test_without_a_hidden_layer_it_is_affine() -> None:
    network = MLP(num_inputs=2, num_outputs=3, hidden=[])
    a, b = torch.randn(2, 4, 2).unbind(0)
    torch.testing.assert_close(network(a + b), network(a) + network(b) - network(torch.zeros(4, 2)))


def test_the_activation_can_be_chosen() -> None:
    network = MLP(num_inputs=2, num_outputs=1, hidden=[4, 4, 4], activation=nn.GELU)
    assert sum(isinstance(layer, nn.GELU) for layer in network.layers) == 3


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[6, 0, 10\].*1 or more"):
        MLP(num_inputs=6, num_outputs=10, hidden=[0])
