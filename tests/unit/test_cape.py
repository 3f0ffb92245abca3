"""Channel attention guided by parameters, in the networks that take a conditioning."""

import pytest
import torch
from torch import nn

from melissa_like.models import CAPE, FNO, Conditioned, FieldShape, Problem, UNet
from tests.unit.families import GRIDS, fit, forced, inputs_of, smooth, target_of


def guided(**options: object) -> CAPE:
    conditioned = Conditioned(
        num_conditions=2, num_channels=3, num_field_channels=1, grid=(16,), periodic=True, widths=(8,)
    )
    return CAPE(conditioned, **{"hidden": 8, "modes": 4} | options)


def with_cape(conditioned: Conditioned) -> CAPE:
    return CAPE(conditioned, hidden=8, modes=3, kernel=3)


NETWORKS = {
    "FNO": lambda problem: FNO(problem, modes=3, channels=12, layers=2, conditioning=with_cape),
    "UNet": lambda problem: UNet(problem, channels=8, multipliers=(1, 2), conditioning=with_cape),
}


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_network_sees_an_estimate_beside_each_field(family: str, dimension: int) -> None:
    problem = forced(GRIDS[dimension])
    network = NETWORKS[family](problem)
    assert network.conditioning.num_channels == 3 + 3
    made = network(**inputs_of(problem, 2))
    torch.cat([values.flatten() for values in made.values()]).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


@pytest.mark.parametrize("family", NETWORKS)
def test_it_fits_a_tiny_problem(family: str) -> None:
    problem = forced(GRIDS[1])
    torch.manual_seed(0)
    network = NETWORKS[family](problem)
    given = inputs_of(problem, 8)
    before, after = fit(network, given, target_of(problem, given), steps=100)
    assert after < before / 20


def test_the_estimate_alone_learns_what_a_parameter_multiplies() -> None:
    """One step of an advection whose speed is the parameter, and beyond the speeds that it has seen."""

    class Estimate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cape = guided(hidden=16)

        def forward(self, u: torch.Tensor, speed: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"u": self.cape.estimate(u, speed)}

    def moved(u: torch.Tensor, speed: torch.Tensor) -> torch.Tensor:
        return u - 0.1 * speed[:, :1, None] * (u.roll(-1, 2) - u.roll(1, 2))

    torch.manual_seed(0)
    network = Estimate()
    u, speed = smooth(64, 1, (16,)), torch.rand(64, 2)
    before, after = fit(network, {"u": u, "speed": speed}, {"u": moved(u, speed)}, steps=300)
    assert after < before / 20
    unseen = 1.5 * torch.ones(64, 2)
    error = (network(u, unseen)["u"] - moved(u, unseen)).square().mean()
    assert error < (u - moved(u, unseen)).square().mean() / 4


def test_on_a_periodic_grid_the_estimate_commutes_with_translations() -> None:
    cape, u, conditions = guided(), torch.randn(2, 1, 16), torch.randn(2, 2)
    moved = cape.estimate(u.roll(5, 2), conditions)
    torch.testing.assert_close(moved, cape.estimate(u, conditions).roll(5, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": 9}, "CAPE is to keep 9 modes"),
        ({"kernel": 4}, "an odd width"),
        ({"hidden": 0}, "0 hidden channels"),
    ],
)
def test_sizes_that_make_no_attention_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guided(**options)


def test_a_problem_that_gives_nothing_to_start_from_is_refused() -> None:
    u = {"u": FieldShape(1, (16,))}
    with pytest.raises(ValueError, match="no input fields: take ConstantChannels or ScaleAndShift"):
        FNO(Problem(parameters=("a",), targets=u), modes=4, conditioning=with_cape)
    with pytest.raises(ValueError, match="CAPE conditions on parameters or the time"):
        FNO(Problem(fields=u, targets=u), modes=4, conditioning=with_cape)
