"""The deep operator network: branch and trunk, and what lies on which points."""

import pytest
import torch

from melissa_like.models import DeepONet, FieldShape, Problem
from tests.unit.families import fit


def test_input_fields_may_lie_elsewhere_than_the_targets() -> None:
    problem = Problem(
        fields={"load": FieldShape(1, (7, 3))}, targets={"u": FieldShape(2, (9,)), "p": FieldShape(1, (9,))}
    )
    made = DeepONet(problem)(fields={"load": torch.randn(4, 1, 7, 3)})
    assert {name: tuple(values.shape) for name, values in made.items()} == {"u": (4, 2, 9), "p": (4, 1, 9)}


def test_the_time_goes_into_the_functions_and_not_into_the_coefficients() -> None:
    problem = Problem(parameters=("a",), time=True, targets={"u": FieldShape(1, (9,))})
    network = DeepONet(problem, branch=[8], trunk=[8])
    assert network.branch[0].in_features == 1
    assert network.trunk[0][0].in_features == 2 + 1  # cosine, sine, time


def test_it_learns_an_integral() -> None:
    """The antiderivative of functions that it has not seen, the example of the paper."""
    x = torch.linspace(0, 1, 20)

    def drawn(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = torch.randn(2, samples, 1)
        return (a * torch.cos(3 * x) + b).unsqueeze(1), (a * torch.sin(3 * x) / 3 + b * x).unsqueeze(1)

    torch.manual_seed(0)
    problem = Problem(fields={"f": FieldShape(1, (20,))}, targets={"g": FieldShape(1, (20,))})
    network = DeepONet(problem, functions=16, branch=[32], trunk=[32], periodic=False)
    functions, integrals = drawn(200)
    fit(network, {"fields": {"f": functions}}, {"g": integrals}, steps=300)
    functions, integrals = drawn(50)
    with torch.no_grad():
        error = (network(fields={"f": functions})["g"] - integrals).square().mean()
    assert error < integrals.var() / 100


def test_points_that_are_no_grid_have_their_places() -> None:
    places = torch.rand(9, 2).tolist()
    network = DeepONet(
        Problem(parameters=("a",), targets={"u": FieldShape(1, (9,))}), positions=places, lengths=[1, 2], periodic=False
    )
    given = torch.tensor(places)
    torch.testing.assert_close(network.places, (given - given.min(0).values) / torch.tensor([1.0, 2.0]))


def test_points_of_one_height_far_from_the_origin_have_values() -> None:
    problem = Problem(parameters=("a",), targets={"u": FieldShape(1, (4,))})
    network = DeepONet(problem, positions=[[500.0 + k, 2.0] for k in range(4)], periodic=False)
    torch.testing.assert_close(network.places, torch.stack([torch.arange(4) / 3, torch.zeros(4)], dim=1))
    assert network(parameters=torch.randn(3, 1))["u"].isfinite().all()


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (Problem(time=True, targets={"u": FieldShape(1, (9,))}), {}, "neither"),
        (
            Problem(parameters=("a",), targets={"u": FieldShape(1, (9,)), "p": FieldShape(1, (8,))}),
            {},
            r"DeepONet needs all targets on one grid .*'p' on \(8,\)",
        ),
        (Problem(parameters=("a",), targets={"u": FieldShape(1, (9,))}), {"functions": 0}, "0 functions"),
        (Problem(parameters=("a",), targets={"u": FieldShape(3, ())}), {}, "1, 2 or 3 axes"),
    ],
)
def test_what_it_cannot_do_is_refused(problem: Problem, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepONet(problem, **options)
