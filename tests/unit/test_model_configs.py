"""Every file of configs/model builds a network for the problem that it is meant for."""

from pathlib import Path

import pytest
import torch
import yaml

from melissa_like.models import FieldShape, Problem, StaticShape
from melissa_like.plugins import factory_of, recipe_of

FILES = sorted((Path(__file__).parents[2] / "configs/model").glob("*.yaml"))
GRIDS = [file for file in FILES if file.stem != "mesh_message_passing"]


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
@pytest.mark.parametrize("grid", [(32,), (32, 32)])
def test_it_takes_a_field_at_one_step_to_the_next(file: Path, grid: tuple[int, ...]) -> None:
    field = FieldShape(2, grid)
    problem = Problem(fields={"u": field}, targets={"u": field}, parameters=("a", "b"))
    factory = factory_of(yaml.safe_load(file.read_text()), "model")
    network = factory(problem)
    made = network(fields={"u": torch.randn(2, 2, *grid)}, parameters=torch.randn(2, 2))
    assert made["u"].shape == (2, 2, *grid)
    # What is written down beside the weights builds the same again.
    again = factory_of(recipe_of(factory), "model")(problem)
    again.load_state_dict(network.state_dict())


def test_the_one_for_meshes_takes_coordinates_and_triangles() -> None:
    file = Path(__file__).parents[2] / "configs/model/mesh_message_passing.yaml"
    problem = Problem(
        targets={"u": FieldShape(1, (), extent="points")},
        parameters=("a",),
        static={
            "coordinates": StaticShape(2, extent="points"),
            "triangles": StaticShape(3, extent="triangles", indexes="points"),
        },
    )
    factory = factory_of(yaml.safe_load(file.read_text()), "model")
    made = factory(problem)(
        offsets={"points": torch.tensor([0, 3, 7]), "triangles": torch.tensor([0, 1, 3])},
        static={"coordinates": torch.rand(7, 2), "triangles": torch.tensor([[0, 1, 2], [3, 4, 5], [4, 5, 6]])},
        parameters=torch.rand(2, 1),
    )
    assert made["u"].shape == (7, 1)
    recipe_of(factory)
