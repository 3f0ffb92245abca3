"""The message-passing solver: who is near whom, translations, bundles of time steps, and points that are no grid."""

from pathlib import Path

import numpy as np
import pytest
import torch

from melissa_like.models import FieldShape, MessagePassing, Problem
from melissa_like.models.graphs import near_points, points_of
from tests.unit.families import fit


def on(grid: tuple[int, ...], steps: int = 1) -> Problem:
    field = FieldShape(steps, grid, steps=steps)
    return Problem(fields={"u": field}, targets={"u": field}, parameters=("a",))


def edges(grid: tuple[int, ...], **options: object) -> list[set[int]]:
    periodic = bool(options.pop("periodic", True))
    points, sides, _ = points_of(grid, options.pop("positions", None), options.pop("lengths", None), periodic=periodic)
    found = {"neighbours": None, "radius": None} | options
    graph = near_points(points, sides, periodic=periodic, **found)
    torch.testing.assert_close(graph.weights.sum(1), torch.ones(len(points)))
    return [
        {int(other) for other, weight in zip(others, weights, strict=True) if weight > 0}
        for others, weights in zip(graph.neighbours, graph.weights, strict=True)
    ]


def test_neighbours_are_found_around_a_periodic_domain_and_not_beyond_another() -> None:
    assert edges((8,), neighbours=2)[0] == {1, 7}
    assert edges((8,), neighbours=2, periodic=False)[0] == {1, 2}
    assert edges((8,), neighbours=4)[7] == {5, 6, 0, 1}


def test_points_as_far_as_the_last_neighbour_are_taken_too() -> None:
    """Of the four diagonal neighbours of a square grid none is preferred."""
    assert edges((5, 5), neighbours=6)[12] == {6, 7, 8, 11, 13, 16, 17, 18}
    assert {len(others) for others in edges((5, 5), neighbours=6)} == {8}


def test_a_radius_is_in_units_of_the_positions() -> None:
    assert edges((10,), radius=0.25)[0] == {1, 2, 8, 9}
    assert edges((10,), radius=0.25, lengths=[2.0])[0] == {1, 9}


@pytest.mark.parametrize(("grid", "neighbours", "expected"), [((48, 48), 6, 8), ((64, 64), 6, 8), ((100,), 5, 6)])
def test_all_points_of_a_periodic_grid_have_as_many_neighbours(
    grid: tuple[int, ...], neighbours: int, expected: int
) -> None:
    assert {len(others) for others in edges(grid, neighbours=neighbours)} == {expected}


@pytest.mark.parametrize(
    ("grid", "radius", "length", "expected"),
    [((48,), 1 / 48, 1.0, 2), ((100,), 0.03, 1.0, 6), ((100,), 0.21, 7.0, 6), ((48, 48), 2**0.5 / 48, 1.0, 8)],
)
def test_a_radius_that_just_reaches_a_point_reaches_it_everywhere(
    grid: tuple[int, ...], radius: float, length: float, expected: int
) -> None:
    found = edges(grid, radius=radius, lengths=[length] * len(grid))
    assert {len(others) for others in found} == {expected}


def test_six_neighbours_of_a_hundred_points_are_three_on_each_side() -> None:
    sides = [-3, -2, -1, 1, 2, 3]
    assert edges((100,), neighbours=6) == [{(k + side) % 100 for side in sides} for k in range(100)]


def test_differences_of_positions_go_around_too() -> None:
    points, sides, _ = points_of((8,), None, [4.0], periodic=True)
    graph = near_points(points, sides, neighbours=2, radius=None, periodic=True)
    torch.testing.assert_close(graph.offsets.abs(), torch.ones(8, 2, 1))
    torch.testing.assert_close(graph.offsets[0, :, 0], torch.tensor([-1.0, 1.0]))  # from point 1, from point 7


@pytest.mark.parametrize(("grid", "shift"), [((12,), (5,)), ((6, 8), (1, 3))])
def test_on_a_periodic_domain_it_commutes_with_translations(grid: tuple[int, ...], shift: tuple[int, ...]) -> None:
    network = MessagePassing(on(grid), hidden=16, layers=2)
    values, a = torch.randn(2, 1, *grid), torch.randn(2, 1)
    axes = tuple(range(2, 2 + len(grid)))
    moved = network(fields={"u": values.roll(shift, axes)}, parameters=a)["u"]
    there = network(fields={"u": values}, parameters=a)["u"].roll(shift, axes)
    torch.testing.assert_close(moved, there, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, [3.0, 3.0]])
def test_places_of_a_domain_that_is_not_periodic_count_from_its_lowest_positions(lengths: list[float] | None) -> None:
    positions = [[500.0, 2.0], [501.5, 2.0], [503.0, 2.0]]
    points, _, places = points_of((3,), positions, lengths, periodic=False)
    assert points.tolist() == positions
    assert places.tolist() == [[0, 0], [0.5, 0], [1, 0]]


def test_places_of_a_periodic_domain_are_shares_of_its_period() -> None:
    places = points_of((2,), [[1.0, 2.0], [2.0, 2.0]], [4.0, 8.0], periodic=True)[2]
    assert places.tolist() == [[0.25, 0.25], [0.5, 0.25]]


def test_points_of_one_height_far_from_the_origin_are_seen_from_0_to_1() -> None:
    positions = [[500.0 + k, 2.0] for k in range(4)]
    network = MessagePassing(on((4,)), hidden=8, layers=1, neighbours=2, positions=positions, periodic=False)
    torch.testing.assert_close(network.inputs.coordinates, torch.stack([torch.arange(4) / 3, torch.zeros(4)]))
    assert network(fields={"u": torch.randn(2, 1, 4)}, parameters=torch.randn(2, 1))["u"].isfinite().all()


def test_a_point_sees_as_far_as_there_are_layers() -> None:
    # In double precision: the change that reaches the farthest point may be lost in single precision.
    network = MessagePassing(on((16,)), hidden=16, layers=3, neighbours=2).double()
    values, a = torch.randn(1, 1, 16, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    other = values.clone()
    other[..., 8] += 1
    changed = network(fields={"u": other}, parameters=a)["u"] != network(fields={"u": values}, parameters=a)["u"]
    assert changed[0, 0].nonzero().flatten().tolist() == [5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_bundled_steps_are_made_at_once_and_in_their_order(steps: int) -> None:
    """A wave that moves one point per step."""
    network = MessagePassing(on((20,), steps), hidden=24, layers=2, neighbours=2)
    start = torch.randn(8, 1)
    shifts = [torch.sin(2 * torch.pi * (torch.arange(20) - step) / 20) for step in range(2 * steps)]
    waves = start.unsqueeze(2) * torch.stack(shifts)
    given = {"fields": {"u": waves[:, :steps]}, "parameters": torch.zeros(8, 1)}
    before, after = fit(network, given, {"u": waves[:, steps:]}, steps=150)
    assert after < before / 20


def test_the_components_of_a_step_lie_together() -> None:
    """As `FieldShape` has it: steps first, then components."""
    fields = {"u": FieldShape(6, (8,), steps=3), "p": FieldShape(3, (8,), steps=3)}
    network = MessagePassing(Problem(fields=fields, targets=fields), hidden=12, layers=1, neighbours=2)
    steps, components = network.decoder.layers[2].weight.shape[2], network.decoder.layers[2].weight.shape[0]
    assert (steps, components) == (6 - 3 + 1, 3)
    with torch.no_grad():
        network.decoder.layers[2].weight.zero_()
        network.decoder.layers[2].bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    made = network(fields={"u": torch.zeros(2, 6, 8), "p": torch.zeros(2, 3, 8)})
    assert made["u"][0, :, 0].tolist() == [1, 2, 1, 2, 1, 2]
    assert made["p"][0, :, 0].tolist() == [3, 3, 3]


def test_any_points_will_do_from_numbers_or_a_file(tmp_path: Path) -> None:
    places = np.random.default_rng(0).random((30, 2))
    np.save(tmp_path / "points.npy", places)
    torch.manual_seed(0)
    options = {"hidden": 8, "layers": 1, "periodic": False}
    network = MessagePassing(on((30,)), positions=places.tolist(), **options)
    again = MessagePassing(on((30,)), positions=str(tmp_path / "points.npy"), **options)
    again.load_state_dict(network.state_dict())
    given = {"fields": {"u": torch.randn(2, 1, 30)}, "parameters": torch.randn(2, 1)}
    torch.testing.assert_close(again(**given)["u"], network(**given)["u"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": None}, "give one of them"),
        ({"radius": 0.2}, "give one of them"),
        ({"neighbours": 16}, "neighbours is 16 of 16 points: give 1 to 15"),
        ({"neighbours": None, "radius": 0.01}, "point 0 has no other within the radius 0.01"),
        ({"positions": [[0.0]] * 15}, r"shape \(15, 1\) .* each of the 16 points"),
        ({"positions": [[k / 8] for k in range(16)]}, "reach from .* give lengths that hold them"),
        ({"lengths": [1.0, 1.0]}, "for points of 1 axes"),
        ({"hidden": 4}, "5 time steps are made of 4 hidden features"),
        ({"layers": 0}, "0 layers"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MessagePassing(on((16,), 5), **options)


def test_targets_of_different_bundles_are_refused() -> None:
    targets = {"u": FieldShape(2, (16,), steps=2), "p": FieldShape(1, (16,))}
    with pytest.raises(ValueError, match=r"'u': 2, 'p': 1.* as many for each"):
        MessagePassing(Problem(fields=targets, targets=targets))


def test_a_round_of_messages_is_what_the_equations_say() -> None:
    """Message by message, on points that have different numbers of neighbours."""
    places = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.3], [0.9, 0.1], [0.5, 0.5], [0.4, 0.4]]
    options = {"neighbours": None, "radius": 0.3, "positions": places, "periodic": True}
    network = MessagePassing(on((6,)), hidden=5, layers=1, **options)
    layer, act = network.layers[0], torch.nn.functional.silu
    features, u, a = torch.randn(6, 2, 5), torch.randn(6, 2, 1), torch.randn(2, 1)
    made = layer(features, u, a, network._graph())
    near = edges((6,), radius=0.3, positions=places)
    assert {len(others) for others in near} == {1, 2, 3}
    scale = network.offsets.square().sum(-1)[network.weights[..., 0] > 0].mean()
    torch.testing.assert_close(scale, torch.tensor(1.0))  # offsets are in units of their mean length
    for i, others in enumerate(near):
        messages = []
        for j in others:
            offset = network.offsets[i, network.neighbours[i].tolist().index(j)]
            linear = layer.receiver(features[i]) + layer.sender(features[j]) + layer.difference(u[i] - u[j])
            first = act(linear + layer.offset(offset) + layer.message_conditions(a))
            messages.append(act(layer.message(first)))
        mean = torch.stack(messages).mean(0)
        inner = act(layer.update_own(torch.cat([features[i], mean], dim=1)) + layer.update_conditions(a))
        torch.testing.assert_close(made[i], layer.norm(features[i] + act(layer.update(inner))))
