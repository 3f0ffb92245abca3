"""The message-passing network on meshes that differ: its neighbours, what it must not depend on, what it refuses."""

import re

import pytest
import torch
from torch import Tensor

from melissa_like.models import FieldShape, MeshMessagePassing, Problem, StaticShape
from melissa_like.models.neighbourhoods import nearest, of_elements, within
from tests.unit.families import FAMILIES, fit
from tests.unit.mesh_networks import ELEMENTS, ON_POINTS, POINTS, TRIANGLES, meshes, problem, small

NEIGHBOURS = [{}, {"connectivity": "triangles"}, {"neighbours": 3}, {"radius": 1.0}]


@pytest.mark.parametrize("options", NEIGHBOURS)
def test_targets_have_their_shapes_and_every_weight_learns(options) -> None:
    network = small(problem(), **options)
    made = network(**meshes((5, 7, 4)))
    assert {name: tuple(values.shape) for name, values in made.items()} == {"u": (16, 2), "drag": (3, 1)}
    torch.cat([values.flatten() for values in made.values()]).square().sum().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


@pytest.mark.parametrize("options", NEIGHBOURS[1:])
def test_a_mesh_may_have_a_single_point(options) -> None:
    network, given = small(problem(), **options), meshes((1, 1))
    given["offsets"][ELEMENTS] = torch.tensor([0, 1, 2])
    given["static"]["triangles"] = torch.tensor([[0, 0, 0], [1, 1, 1]])
    made = network(**given)
    assert all(values.isfinite().all() for values in made.values())
    torch.cat([values.flatten() for values in made.values()]).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_it_learns_in_half_precision() -> None:
    network, given = small(problem()), meshes((5, 7, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(**given)
    for name, values in network(**given).items():
        torch.testing.assert_close(half[name].float(), values, rtol=0.1, atol=0.1)
    torch.cat([values.flatten() for values in half.values()]).float().square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("options", NEIGHBOURS)
def test_a_sample_does_not_depend_on_its_company(options) -> None:
    network, together = small(problem(), **options), meshes((5, 7, 4))
    first, behind = 5, 12
    alone = {
        "offsets": {POINTS: torch.tensor([0, 7]), ELEMENTS: torch.tensor([0, 5])},
        "static": {name: together["static"][name][first:behind] for name in ON_POINTS}
        | {
            "triangles": together["static"]["triangles"][3:8] - first,
            "kind": together["static"]["kind"][1:2],
            "wide": together["static"]["wide"],
        },
        "fields": {
            "force": together["fields"]["force"][first:behind],
            "inflow": together["fields"]["inflow"][1:2],
        },
        "parameters": together["parameters"][1:2],
        "time": together["time"][1:2],
    }
    made, whole = network(**alone), network(**together)
    torch.testing.assert_close(made["u"], whole["u"][first:behind], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made["drag"], whole["drag"][1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", NEIGHBOURS)
def test_numbering_the_points_otherwise_changes_nothing_else(options) -> None:
    network, given = small(problem(), **options), meshes((9,))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    place = order.argsort()
    static = given["static"]
    renumbered = given | {
        "static": static
        | {name: static[name][order] for name in ON_POINTS}
        | {"triangles": place[static["triangles"]].flip(0)},
        "fields": given["fields"] | {"force": given["fields"]["force"][order]},
    }
    made, other = network(**given), network(**renumbered)
    torch.testing.assert_close(other["u"], made["u"][order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other["drag"], made["drag"], rtol=1e-4, atol=1e-5)


def test_what_is_far_away_is_heard_of_in_one_round() -> None:
    network = MeshMessagePassing(problem(), hidden=16, layers=1)
    given = meshes((12,))
    given["fields"]["force"].requires_grad_()
    network(**given)["u"][3].sum().backward()
    assert (given["fields"]["force"].grad != 0).all()


def test_it_fits_a_tiny_problem() -> None:
    network, given = small(problem()), meshes((6, 9, 5, 8))
    places, counts = given["static"]["coordinates"], given["offsets"][POINTS].diff()
    growth = given["parameters"][:, :1]
    target = {"u": places * growth.repeat_interleave(counts, dim=0), "drag": growth + given["time"][:, None]}
    before, after = fit(network, given, target, steps=150)
    assert after < before / 20


def test_several_steps_are_stacked_into_components() -> None:
    steps = problem(
        targets={"u": FieldShape(6, (), steps=3, extent=POINTS)},
        fields={"u": FieldShape(4, (), steps=2, extent=POINTS)},
        parameters=(),
        time=False,
        static=ON_POINTS | TRIANGLES,
    )
    given = meshes((5, 7))
    made = small(steps)(offsets=given["offsets"], static=given["static"], fields={"u": torch.randn(12, 4)})
    assert made["u"].shape == (12, 6)


def pairs(edges: Tensor) -> list[tuple[int, int]]:
    return [(receiver, sender) for receiver, sender in edges.T.tolist()]


def test_the_corners_of_an_element_are_neighbours_once() -> None:
    edges = of_elements(torch.tensor([[0, 1, 2], [2, 1, 3], [4, 4, 5]], dtype=torch.int32), 6)
    both = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (4, 5)]
    assert pairs(edges) == sorted(both + [(b, a) for a, b in both])


def test_edges_are_elements_of_two_corners() -> None:
    assert pairs(of_elements(torch.tensor([[2, 0], [0, 2], [1, 2]]), 3)) == [(0, 2), (1, 2), (2, 0), (2, 1)]


PLACES = torch.tensor([[0.0], [1.0], [3.0], [0.5], [0.6]])
TWO = torch.tensor([0, 3, 5])


def test_the_nearest_are_of_the_same_sample() -> None:
    assert pairs(nearest(PLACES, TWO, neighbours=1)) == [(0, 1), (1, 0), (2, 1), (3, 4), (4, 3)]
    assert pairs(nearest(PLACES, TWO, neighbours=9)) == [
        *((0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (2, 0)),
        *((3, 4), (4, 3)),
    ]


def test_those_within_a_radius_are_of_the_same_sample() -> None:
    assert pairs(within(PLACES, TWO, radius=1.5)) == [(0, 1), (1, 0), (3, 4), (4, 3)]
    assert within(PLACES, TWO, radius=0.01).shape == (2, 0)


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"targets": {"u": FieldShape(1, (4,))}, "fields": {}}, {}, "all of these are of a fixed size"),
        ({"targets": {"u": FieldShape(1, (), extent="cells")}}, {}, "on num_points, the target 'u' on cells"),
        ({}, {"coordinates": "places"}, "no static data 'places' on num_points.*coordinates, inside"),
        ({"static": ON_POINTS}, {}, r"numbers points of num_points are \(none\)|number points of num_points"),
        ({}, {"connectivity": "quads"}, "connectivity is quads"),
        ({}, {"connectivity": "triangles", "radius": 1.0}, "give one of them, and null for the others"),
        ({}, {"neighbours": 0}, "neighbours is 0"),
        ({}, {"radius": 0.0}, r"radius is 0\.0"),
        ({"static": ON_POINTS | {"load": StaticShape(1, extent="cells")}}, {"radius": 1.0}, "load lie on other"),
        ({"static": ON_POINTS | {"ids": StaticShape(1, extent="cells", indexes=POINTS)}}, {}, "has one corner"),
    ],
)
def test_what_it_cannot_serve_is_refused(changed, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        small(problem(**changed), **options)


@pytest.mark.parametrize("size", [{"hidden": 0}, {"layers": 0}])
def test_a_size_below_one_is_refused(size) -> None:
    with pytest.raises(ValueError, match="give 1 or more"):
        MeshMessagePassing(problem(), **size)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_a_fixed_size_refuse_fields_whose_size_differs(family) -> None:
    with pytest.raises(ValueError, match=r"u \(num_points\): take melissa_like\.models\.MeshMessagePassing"):
        FAMILIES[family](Problem(targets={"u": FieldShape(1, (), extent=POINTS)}, parameters=("a",)))


@pytest.mark.parametrize("family", ["MLP", "DeepONet"])
def test_a_network_without_a_place_for_static_data_refuses_them(family) -> None:
    mask = {"mask": StaticShape(1, (16,))}
    with pytest.raises(ValueError, match="no place for static data and is given mask"):
        FAMILIES[family](Problem(targets={"u": FieldShape(1, (16,))}, parameters=("a",), static=mask))


@pytest.mark.parametrize("family", ["FNO", "UNet", "MessagePassing"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_network_on_a_grid_sees_the_static_data_of_the_grid(family, shared) -> None:
    of = Problem(
        targets={"u": FieldShape(1, (16,))}, parameters=("a",), static={"mask": StaticShape(2, (16,), shared=shared)}
    )
    mask = torch.randn(2, 16) if shared else torch.randn(3, 2, 16)
    mask.requires_grad_()
    made = FAMILIES[family](of)(parameters=torch.rand(3, 1), static={"mask": mask})["u"]
    made.square().sum().backward()
    assert made.shape == (3, 1, 16)
    assert mask.grad.any()


@pytest.mark.parametrize(
    ("static", "instead"),
    [
        ({"mask": StaticShape(1, (8,))}, "false"),
        ({"mask": StaticShape(1, (8,)), "heat": StaticShape(1, (16,)), "slope": StaticShape(2, (16,))}, "[heat,slope]"),
        ({"mask": StaticShape(1, (16,), indexes=4), "heat": StaticShape(1, (16,))}, "[heat]"),
    ],
)
def test_static_data_of_something_else_are_refused_on_a_grid(static, instead) -> None:
    of = Problem(targets={"u": FieldShape(1, (16,))}, parameters=("a",), static=static)
    told = f"and mask are something else: leave them out (+training.task.static={instead})"
    with pytest.raises(ValueError, match=re.escape(told)):
        FAMILIES["FNO"](of)


def test_a_field_has_no_grid_and_an_extent() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        FieldShape(1, (4,), extent=POINTS)
