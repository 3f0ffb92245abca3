"""Every family of networks computes and learns on a CUDA device as on the CPU."""

import pytest
import torch

from tests.unit.families import FAMILIES, GRIDS, fit, forced, inputs_of, target_of
from tests.unit.mesh_networks import meshes, problem, small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def moved(given: dict[str, object]) -> dict[str, object]:
    return {
        name: {field: part.cuda() for field, part in values.items()} if isinstance(values, dict) else values.cuda()
        for name, values in given.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_it_computes_the_same(monkeypatch: pytest.MonkeyPatch, family: str, dimension: int) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    problem = forced(GRIDS[dimension])
    network = FAMILIES[family](problem)
    given = inputs_of(problem, 3)
    on_cpu = {name: values.detach() for name, values in network(**given).items()}
    on_device = network.cuda()(**moved(given))
    for name, values in on_cpu.items():
        torch.testing.assert_close(on_device[name].cpu(), values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_fits_a_tiny_problem(family: str) -> None:
    problem = forced(GRIDS[2])
    given = inputs_of(problem, 8)
    target = {name: values.cuda() for name, values in target_of(problem, given).items()}
    before, after = fit(FAMILIES[family](problem).cuda(), moved(given), target, steps=100)
    assert after < before / 20


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_in_half_precision(family: str) -> None:
    problem = forced(GRIDS[2])
    network = FAMILIES[family](problem).cuda()
    given = moved(inputs_of(problem, 3))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        half = network(**given)["u"]
    torch.testing.assert_close(half.float(), network(**given)["u"], rtol=0.1, atol=0.1)
    half.float().square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("options", [{}, {"neighbours": 3}, {"radius": 1.0}])
def test_on_meshes_it_computes_and_learns_the_same(options: dict[str, float]) -> None:
    network, given = small(problem(), **options), meshes((5, 7, 4))
    torch.cat([values.flatten() for values in network(**given).values()]).square().sum().backward()
    on_cpu = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    network.zero_grad()
    network.cuda()
    torch.cat([values.flatten() for values in network(**moved(given)).values()]).square().sum().backward()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.grad.cpu(), on_cpu[name], rtol=1e-3, atol=1e-3)
