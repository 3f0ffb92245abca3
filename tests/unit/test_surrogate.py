"""A surrogate: normalization, prediction, saving and loading."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from melissa_like.loading import Batch, Moments
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import Surrogate, build_surrogate, load_surrogate
from melissa_like.training.normalization import FieldNormalization, InputNormalization
from melissa_like.training.recipes import callable_of, recipe_of

LAYOUT = Layout(
    fields=(
        FieldSpec(name="temperature", shape=(3, 4), bounds=(100.0, 500.0)),
        FieldSpec(name="pressure", shape=(5,), dtype="float64"),
    ),
    parameters=("left", "right"),
)
BOUNDS = {"left": (0.0, 10.0), "right": (7.0, 7.0)}
STATISTICS = {"pressure": Moments(count=10, mean=1e5, std=200.0)}


class Tied(nn.Module):
    """Two layers that share their weights."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, num_inputs)
        self.second = nn.Linear(num_inputs, num_inputs)
        self.second.weight = self.first.weight
        self.last = nn.Linear(num_inputs, num_outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.last(self.second(self.first(inputs)))
        return outputs


def with_squares(batch: Batch, *, power: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.cat([batch.parameters, batch.parameters**power, batch.times[:, None]], dim=1)
    return inputs.float(), torch.cat([f.flatten(1).float() for f in batch.fields.values()], dim=1)


def one_row_only(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = with_squares(batch)
    return inputs[:, :2], targets[:, :3]


def surrogate(model: object = MLP, **options: object) -> Surrogate:
    built = build_surrogate(layout=LAYOUT, parameter_bounds=BOUNDS, num_steps=11, model=model, **options)
    built.output_normalization.freeze(STATISTICS)
    return built


def test_inputs_are_mapped_from_their_bounds_and_a_constant_to_zero() -> None:
    normalization = InputNormalization(3)
    normalization.set_bounds([0, 7, -1], [10, 7, 3])
    inputs = torch.tensor([[0.0, 7.0, -1.0], [10.0, 7.0, 3.0], [5.0, 7.0, 1.0]])
    torch.testing.assert_close(normalization(inputs), torch.tensor([[-1.0, 0, -1], [1, 0, 1], [0, 0, 0]]))


def test_bounds_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        InputNormalization(1).set_bounds([0.0], [math.inf])


def test_fields_are_normalized_by_bounds_or_statistics_and_restored() -> None:
    normalization = FieldNormalization(LAYOUT)
    assert normalization.unset == ("pressure",)
    normalization.freeze(STATISTICS)
    assert normalization.unset == ()
    values = torch.cat([torch.full((1, 12), 500.0), torch.full((1, 5), 1e5 - 400)], dim=1)
    torch.testing.assert_close(normalization(values), torch.tensor([[1.0] * 12 + [-2.0] * 5]))
    torch.testing.assert_close(normalization.restore(normalization(values)), values)


def test_statistics_never_change_what_is_frozen() -> None:
    normalization = FieldNormalization(LAYOUT)
    normalization.freeze(STATISTICS)
    before = normalization.state_dict()["shift"].clone()
    normalization.freeze({name: Moments(count=1, mean=-5, std=2) for name in ("temperature", "pressure")})
    torch.testing.assert_close(normalization.state_dict()["shift"], before)


def test_a_constant_field_is_normalized_to_zero() -> None:
    normalization = FieldNormalization(Layout(fields=(FieldSpec(name="u", shape=(2,)),), parameters=()))
    normalization.freeze({"u": Moments(count=4, mean=3.0, std=0.0)})
    torch.testing.assert_close(normalization(torch.full((1, 2), 3.0)), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        (None, "solver.fields.pressure.bounds"),
        ({"pressure": Moments(count=3, mean=math.nan, std=1.0)}, "not finite"),
    ],
)
def test_a_field_without_bounds_needs_usable_statistics(statistics: dict[str, Moments] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FieldNormalization(LAYOUT).freeze(statistics)


def test_it_predicts_fields_of_global_shape_in_original_units() -> None:
    built = surrogate()
    predicted = built.predict({"left": 5, "right": 7}, step=5)
    # Parameters and step in the middle of their bounds: the network sees zeros.
    expected = built.network(torch.zeros(1, 3))[0].detach().numpy()
    np.testing.assert_allclose(predicted["temperature"], 300 + 200 * expected[:12].reshape(3, 4), rtol=1e-5)
    np.testing.assert_allclose(predicted["pressure"], 1e5 + 200 * expected[12:], rtol=1e-5)
    assert built.training


def test_forward_and_predict_agree() -> None:
    built = surrogate()
    flat = built(torch.tensor([[3.0, 7.0, 2.0]])).detach().numpy()[0]
    predicted = built.predict({"right": 7, "left": 3}, step=2)
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part in predicted.values()]), flat)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"left": 1, "right": 2, "rigth": 3}, "unknown: rigth"),
        ({"left": 1}, "missing: right"),
        ({"left": 1, "rigth": 2}, "trained with left, right .unknown: rigth; missing: right."),
    ],
)
def test_wrong_parameter_names_are_told(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        surrogate().predict(parameters, step=0)


@pytest.mark.parametrize(
    ("model", "transform"),
    [
        (partial(MLP, hidden=(16, 8), activation=nn.GELU), None),
        (Tied, None),
        (MLP, partial(with_squares, power=3)),
    ],
)
def test_a_loaded_surrogate_predicts_the_same_numbers(tmp_path: Path, model: object, transform: object) -> None:
    built = surrogate(model, **({} if transform is None else {"transform": transform}))
    folder = tmp_path / "surrogate"
    built.save(folder)
    loaded = load_surrogate(folder)
    for step in (0, 3):
        mine = built.predict({"left": 2.5, "right": 7}, step=step, time=0.1 * step)
        theirs = loaded.predict({"left": 2.5, "right": 7}, step=step, time=0.1 * step)
        for name in ("temperature", "pressure"):
            np.testing.assert_array_equal(mine[name], theirs[name])
    assert not loaded.training
    assert sorted(p.name for p in folder.iterdir()) == ["surrogate.json", "weights.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    built = surrogate()
    built.save(tmp_path / "surrogate")
    with torch.no_grad():
        next(built.network.parameters()).add_(1.0)
    built.save(tmp_path / "surrogate")
    loaded = load_surrogate(tmp_path / "surrogate")
    torch.testing.assert_close(loaded.state_dict(), built.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_an_unfinished_save_leaves_the_former_one(tmp_path: Path) -> None:
    built = surrogate()
    built.save(tmp_path / "surrogate")
    built.layout = Layout(fields=LAYOUT.fields, parameters=(object(),))  # cannot be written as JSON
    with pytest.raises(TypeError):
        built.save(tmp_path / "surrogate")
    assert load_surrogate(tmp_path / "surrogate").layout == LAYOUT
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no surrogate.json"):
        load_surrogate(tmp_path)
    surrogate().save(tmp_path / "surrogate")
    description = tmp_path / "surrogate" / "surrogate.json"
    written = json.loads(description.read_text())
    description.write_text(json.dumps(written | {"model": {"_target_": "gone.with.TheWind"}}))
    with pytest.raises(ImportError, match=r"gone.with.TheWind.*install"):
        load_surrogate(tmp_path / "surrogate")
    description.write_text(json.dumps(written | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_surrogate(tmp_path / "surrogate")


def test_a_model_that_nobody_could_load_again_is_refused_before_training() -> None:
    with pytest.raises(TypeError, match="cannot be imported"):
        surrogate(lambda num_inputs, num_outputs: MLP(num_inputs, num_outputs))
    with pytest.raises(TypeError, match=r"'hidden'.*cannot be written as JSON"):
        surrogate(partial(MLP, hidden=np.array([3])))


def test_recipes_are_nested_json() -> None:
    recipe = recipe_of(partial(MLP, hidden=(4,), activation=partial(nn.LeakyReLU, negative_slope=0.3)))
    assert json.loads(json.dumps(recipe)) == {
        "_target_": "melissa_like.models.mlp.MLP",
        "hidden": [4],
        "activation": {"_target_": "torch.nn.modules.activation.LeakyReLU", "negative_slope": 0.3},
    }
    layer = callable_of(recipe)(num_inputs=1, num_outputs=1).layers[1]
    assert layer.negative_slope == 0.3


def test_a_transform_decides_the_inputs_and_their_bounds() -> None:
    built = surrogate(transform=with_squares)
    # left, right, left², right², time: the upper corner is mapped to 1, constants to 0.
    torch.testing.assert_close(
        built.input_normalization(torch.tensor([[10.0, 7, 100, 49, 10]])), torch.tensor([[1.0, 0, 1, 0, 1]])
    )


def test_a_transform_with_wrong_shapes_is_told() -> None:
    with pytest.raises(ValueError, match=r"targets of shape \(1, 3\), expected \(1, 17\)"):
        surrogate(transform=one_row_only).predict({"left": 1, "right": 7}, step=0)
