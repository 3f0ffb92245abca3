"""What every family of networks owes: shapes, learning, independence of the batch, saving, export, plain refusals."""

import pytest
import torch
from torch import nn

from melissa_like.models import FNO, FieldShape, MessagePassing, Problem, UNet
from tests.unit.families import FAMILIES, GRIDS, fit, forced, inputs_of, target_of

GRID_FAMILIES = [name for name in FAMILIES if name not in ("MLP", "DeepONet")]


def built(family: str, problem: Problem) -> nn.Module:
    torch.manual_seed(0)
    return FAMILIES[family](problem)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_targets_have_their_shapes_and_every_weight_learns(family: str, dimension: int) -> None:
    grid = GRIDS[dimension]
    problem = forced(grid)
    network = built(family, problem)
    made = network(**inputs_of(problem, 3))
    assert {name: tuple(values.shape) for name, values in made.items()} == {
        "u": (3, 2, *grid),
        "pressure": (3, 1, *grid),
    }
    torch.cat([values.flatten() for values in made.values()]).square().sum().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


@pytest.mark.parametrize("family", FAMILIES)
def test_it_fits_a_tiny_problem(family: str) -> None:
    problem = forced(GRIDS[2])
    network = built(family, problem)
    given = inputs_of(problem, 8)
    before, after = fit(network, given, target_of(problem, given), steps=100)
    assert after < before / 20


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_alone_are_enough_to_learn_a_field(family: str) -> None:
    """As for the direct surrogate: only parameters and time go in, and what comes out differs from place to place."""
    problem = Problem(parameters=("a",), time=True, targets={"u": FieldShape(1, (16,))})
    network = built(family, problem)
    given = inputs_of(problem, 8)
    wave = torch.sin(2 * torch.pi * torch.arange(16) / 16)
    target = {"u": (given["parameters"] * wave).unsqueeze(1)}
    before, after = fit(network, given, target, steps=100)
    assert after < before / 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_does_not_depend_on_its_company(family: str) -> None:
    problem = forced(GRIDS[2])
    network = built(family, problem)
    given = inputs_of(problem, 3)
    alone = {
        "fields": {name: values[:1] for name, values in given["fields"].items()},
        "parameters": given["parameters"][:1],
        "time": given["time"][:1],
    }
    torch.testing.assert_close(network(**alone)["u"], network(**given)["u"][:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_time_have_an_effect_and_a_gradient(family: str) -> None:
    problem = forced(GRIDS[1])
    network = built(family, problem)
    given = inputs_of(problem, 2)
    given["parameters"].requires_grad_()
    given["time"].requires_grad_()
    network(**given)["u"].square().sum().backward()
    assert (given["parameters"].grad != 0).all()
    assert (given["time"].grad != 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_its_weights_are_all_of_its_state(family: str) -> None:
    problem = forced(GRIDS[2])
    network, again = built(family, problem), FAMILIES[family](problem)
    again.load_state_dict(network.state_dict())
    given = inputs_of(problem, 2)
    torch.testing.assert_close(again(**given)["u"], network(**given)["u"])
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_exported_for_any_number_of_samples(family: str) -> None:
    problem = forced(GRIDS[2])
    network = built(family, problem).eval()
    samples = torch.export.Dim("samples", min=1, max=1024)
    dynamic = {
        "fields": {name: {0: samples} for name in problem.fields},
        "parameters": {0: samples},
        "time": {0: samples},
    }
    exported = torch.export.export(network, (), inputs_of(problem, 3), dynamic_shapes=dynamic).module()
    given = inputs_of(problem, 5)
    for name, values in network(**given).items():
        torch.testing.assert_close(exported(**given)[name], values)


@pytest.mark.parametrize("family", GRID_FAMILIES)
def test_fields_of_several_grids_are_refused(family: str) -> None:
    problem = Problem(fields={"u": FieldShape(1, (16,))}, targets={"v": FieldShape(1, (8,))})
    with pytest.raises(ValueError, match=rf"{family} needs all fields on one grid .*'u' on \(16,\), .*'v' on \(8,\)"):
        built(family, problem)


@pytest.mark.parametrize("network", [FNO, UNet, MessagePassing])
@pytest.mark.parametrize("periodic", [True, False])
def test_neither_fields_nor_coordinates_are_refused(network: type[nn.Module], periodic: bool) -> None:
    problem = Problem(parameters=("a",), time=True, targets={"u": FieldShape(1, (32,))})
    with pytest.raises(ValueError, match="coordinates is false and the problem has no input fields"):
        network(problem, periodic=periodic, coordinates=False)


@pytest.mark.parametrize("network", [FNO, UNet, MessagePassing])
def test_fields_without_coordinates_are_enough(network: type[nn.Module]) -> None:
    problem = forced((32,))
    assert network(problem, periodic=False, coordinates=False)(**inputs_of(problem, 2))["u"].shape == (2, 2, 32)
