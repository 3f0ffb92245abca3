"""Every file of configs/model builds a network for the problem that it is meant for."""

from pathlib import Path

import pytest
import torch
import yaml

from melissa_like.models import FieldShape, Problem
from melissa_like.plugins import factory_of, recipe_of

FILES = sorted((Path(__file__).parents[2] / "configs/model").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
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
