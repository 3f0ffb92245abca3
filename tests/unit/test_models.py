"""The bundled networks, and the problem that they are built from."""

import pytest
import torch
from torch import nn

from melissa_like.models import MLP, FieldShape, Problem


def problem(num_parameters: int, num_outputs: int, *, time: bool = False) -> Problem:
    names = tuple("abcdefgh"[:num_parameters])
    return Problem(parameters=names, time=time, targets={"u": FieldShape(1, (num_outputs,))})


def test_the_default_is_the_network_of_the_paper() -> None:
    network = MLP(problem(5, 1000, time=True))
    widths = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
    assert widths == [(256, 6), (256, 256), (1000, 256)]
    assert [type(layer) for layer in network.layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert network(parameters=torch.zeros(3, 5), time=torch.zeros(3))["u"].shape == (3, 1, 1000)


def test_without_a_hidden_layer_it_is_affine() -> None:
    network = MLP(problem(2, 3), hidden=[])

    def affine(inputs: torch.Tensor) -> torch.Tensor:
        return network(parameters=inputs)["u"]

    a, b = torch.randn(2, 4, 2).unbind(0)
    torch.testing.assert_close(affine(a + b), affine(a) + affine(b) - affine(torch.zeros(4, 2)))


def test_the_activation_can_be_chosen() -> None:
    network = MLP(problem(2, 1), hidden=[4, 4, 4], activation=nn.GELU)
    assert sum(isinstance(layer, nn.GELU) for layer in network.layers) == 3


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[6, 0, 10\].*1 or more"):
        MLP(problem(6, 10), hidden=[0])
    with pytest.raises(ValueError, match="1 or more"):
        FieldShape(1, (4, 0))


def test_components_of_several_steps_are_as_many_for_each() -> None:
    assert FieldShape(6, (8,), steps=3).size == 48
    with pytest.raises(ValueError, match="as many for each step"):
        FieldShape(4, (8,), steps=3)
    with pytest.raises(ValueError, match="0 time steps"):
        FieldShape(4, (8,), steps=0)


def test_its_layers_see_fields_then_parameters_then_time_and_its_output_is_cut_into_the_targets() -> None:
    given = Problem(
        fields={"source": FieldShape(1, (2, 2))},
        parameters=("a", "b"),
        time=True,
        targets={"velocity": FieldShape(2, (2, 3)), "pressure": FieldShape(1, (2, 3))},
    )
    network = MLP(given, hidden=[])
    source, parameters, time = torch.randn(5, 1, 2, 2), torch.randn(5, 2), torch.randn(5)
    made = network(fields={"source": source}, parameters=parameters, time=time)
    assert {name: tuple(values.shape) for name, values in made.items()} == {
        "velocity": (5, 2, 2, 3),
        "pressure": (5, 1, 2, 3),
    }
    row = torch.cat([source.flatten(1), parameters, time[:, None]], dim=1)
    flat = torch.cat([values.flatten(1) for values in made.values()], dim=1)
    torch.testing.assert_close(flat, network.layers(row))
