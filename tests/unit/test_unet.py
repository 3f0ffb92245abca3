"""The U-Net: any grid, translations, and its options."""

import pytest
import torch

from melissa_like.models import FieldShape, Problem, ScaleAndShift, UNet
from tests.unit.families import forced, inputs_of


def on(grid: tuple[int, ...]) -> Problem:
    return Problem(fields={"u": FieldShape(1, grid)}, targets={"u": FieldShape(1, grid)})


def test_translations_by_its_stride_commute_on_a_periodic_grid() -> None:
    network = UNet(on((16, 8)), channels=8)
    values = torch.randn(2, 1, 16, 8)
    moved = network(fields={"u": values.roll((4, -4), (2, 3))})["u"]
    torch.testing.assert_close(moved, network(fields={"u": values})["u"].roll((4, -4), (2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(33,), (7, 30), (5, 6, 9)])
@pytest.mark.parametrize("periodic", [True, False])
def test_any_number_of_points_will_do(grid: tuple[int, ...], periodic: bool) -> None:
    network = UNet(on(grid), channels=4, periodic=periodic)
    assert network(fields={"u": torch.randn(2, 1, *grid)})["u"].shape == (2, 1, *grid)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": None},
        {"blocks": 2},
        {"attention": True},
        {"coordinates": True},
        {"multipliers": (1,)},
        {"conditioning": ScaleAndShift, "blocks": 2},
    ],
)
def test_its_options_go_together_with_what_it_returns(options: dict[str, object]) -> None:
    problem = forced((8, 8))
    network = UNet(problem, channels=8, **options)
    given = inputs_of(problem, 2)
    made = network(**given)
    assert made["u"].shape == (2, 2, 8, 8)
    torch.cat([values.flatten() for values in made.values()]).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_attention_looks_across_the_whole_grid() -> None:
    """Without it, what lies beyond the convolutions' reach has no effect."""
    values = torch.randn(1, 1, 256)
    far = values.clone()
    far[..., 128] += 1
    for attention in (False, True):
        network = UNet(on((256,)), channels=8, multipliers=(1, 2), groups=None, attention=attention)
        seen = network(fields={"u": far})["u"][..., 0] != network(fields={"u": values})["u"][..., 0]
        assert bool(seen) is attention


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multipliers": (1, 2, 4, 8)}, r"halves the grid \(16, 8\) 3 times"),
        ({"groups": 3}, "3 groups of its 16 channels"),
        ({"multipliers": ()}, "one multiplier or more"),
        ({"blocks": 0}, "0 blocks"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(on((16, 8)), **options)
