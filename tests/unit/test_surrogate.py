"""A surrogate: normalization, prediction, saving and loading."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch, Moments
from melissa_like.models import MLP, Problem
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import (
    Direct,
    Normalization,
    Operator,
    Surrogate,
    build_surrogate,
    load_surrogate,
    save_surrogate,
)

LAYOUT = Layout(
    fields=(
        FieldSpec(name="temperature", shape=(3, 4), bounds=(100.0, 500.0)),
        FieldSpec(name="pressure", shape=(5,), dtype="float64"),
    ),
    parameters=("left", "right"),
)
BOUNDS = {"left": (0.0, 10.0), "right": (7.0, 7.0)}
STATISTICS = {"pressure": (Moments(count=10, mean=1e5, std=200.0),)}
QUANTITIES = {"temperature": 1, "pressure": 1}


class Tied(nn.Module):
    """Two layers that share their weights."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        width = problem.num_inputs
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.last = MLP(Problem(parameters=problem.parameters, time=True, targets=problem.targets), hidden=())

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> dict[str, torch.Tensor]:
        mixed = self.second(self.first(torch.cat([parameters, time[:, None]], dim=1)))
        return self.last(parameters=mixed[:, :-1], time=mixed[:, -1])


def surrogate(model: object = MLP, **options: object) -> Surrogate:
    built = build_surrogate(layout=LAYOUT, parameter_bounds=BOUNDS, num_steps=11, model=model, **options)
    built.normalization.freeze(STATISTICS)
    return built


def test_parameters_and_steps_are_mapped_from_their_bounds_and_a_constant_to_zero() -> None:
    normalization = Normalization({}, Layout(fields=LAYOUT.fields, parameters=("a", "b", "c")))
    normalization.set_inputs([(0, 10), (7, 7), (-1, 3)], num_steps=5)
    parameters = torch.tensor([[0.0, 7.0, -1.0], [10.0, 7.0, 3.0], [5.0, 7.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        normalization.normalize_parameters(parameters), torch.tensor([[-1.0, 0, -1], [1, 0, 1], [0, 0, 0]])
    )
    torch.testing.assert_close(normalization.normalize_steps(torch.tensor([0, 2, 4])), torch.tensor([-1.0, 0, 1]))


def test_a_single_step_is_mapped_to_zero_and_an_unknown_range_to_nothing_that_looks_right() -> None:
    normalization = Normalization({}, LAYOUT)
    normalization.set_inputs([(0, 1), (0, 1)], 1)
    assert normalization.normalize_steps(torch.tensor([0])).item() == 0
    normalization = Normalization({}, LAYOUT)
    normalization.set_inputs([(0, 1), (0, 1)], None)
    assert normalization.normalize_steps(torch.tensor([7])).isnan().all()


@pytest.mark.parametrize(
    ("first", "last"), [(0, 41), (1, 10), (10**6, 10**7), (10**12, 10**12 + 9), (0, 3 * 10**15), (5, 5)]
)
def test_steps_are_mapped_from_the_first_to_the_last_however_large_they_are(first: int, last: int) -> None:
    normalization = Normalization({}, LAYOUT)
    normalization.set_inputs([(0, 1), (0, 1)], 10)
    normalization.freeze(STATISTICS, (float(first), float(last)))
    if last > first:
        assert normalization.time_range == (first, last)
    middle = (first + last) // 2
    expected = torch.tensor([-1.0, 2 * (middle - first) / (last - first) - 1, 1.0]) if last > first else torch.zeros(3)
    torch.testing.assert_close(normalization.normalize_steps(torch.tensor([first, middle, last])), expected)


def test_a_saved_surrogate_keeps_the_range_of_its_steps(tmp_path: Path) -> None:
    built = build_surrogate(layout=LAYOUT, parameter_bounds=BOUNDS, model=partial(MLP, hidden=(8,)))
    built.normalization.freeze(STATISTICS, (1e12, 1e12 + 9))
    save_surrogate(built, tmp_path / "surrogate")
    steps = torch.arange(10**12, 10**12 + 10)
    loaded = load_surrogate(tmp_path / "surrogate").normalization.normalize_steps(steps)
    torch.testing.assert_close(loaded, torch.linspace(-1, 1, 10))


def test_bounds_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        Normalization({}, LAYOUT).set_inputs([(0.0, math.inf), (0.0, 1.0)], 5)


def test_fields_are_normalized_by_bounds_or_statistics_and_restored() -> None:
    normalization = Normalization(QUANTITIES, LAYOUT)
    assert normalization.unset == ("pressure",)
    normalization.freeze(STATISTICS)
    assert normalization.unset == ()
    for name, value, expected in (("temperature", 500.0, 1.0), ("pressure", 1e5 - 400, -2.0)):
        values = torch.full((1, 1, 5), value, dtype=torch.float64)
        normalized = normalization.normalize(name, values)
        torch.testing.assert_close(normalized, torch.full((1, 1, 5), expected))
        torch.testing.assert_close(normalization.restore(name, normalized), values.float())


def test_each_component_has_its_own_scale() -> None:
    layout = Layout(fields=(FieldSpec(name="v.x", shape=(2, 3, 4), components=2),), parameters=())
    normalization = Normalization({"v.x": 2}, layout)
    normalization.freeze({"v.x": (Moments(count=1, mean=1.0, std=2.0), Moments(count=1, mean=-10.0, std=0.5))})
    values = torch.tensor([3.0, -9.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    normalized = normalization.normalize("v.x", values)
    torch.testing.assert_close(normalized, torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4))
    torch.testing.assert_close(normalization.restore("v.x", normalized), values)


def test_a_quantity_that_is_no_field_needs_statistics() -> None:
    assert Normalization({"temperature": 1, "increment of temperature": 1}, LAYOUT).unset == (
        "increment of temperature",
    )


def test_statistics_never_change_what_is_frozen() -> None:
    normalization = Normalization(QUANTITIES, LAYOUT)
    normalization.freeze(STATISTICS)
    before = {name: values.clone() for name, values in normalization.state_dict().items()}
    normalization.freeze({name: (Moments(count=1, mean=-5, std=2),) for name in ("temperature", "pressure")})
    torch.testing.assert_close(normalization.state_dict(), before, equal_nan=True)


def test_a_constant_field_is_normalized_to_zero() -> None:
    normalization = Normalization({"u": 1}, Layout(fields=(FieldSpec(name="u", shape=(2,)),), parameters=()))
    normalization.freeze({"u": (Moments(count=4, mean=3.0, std=0.0),)})
    torch.testing.assert_close(normalization.normalize("u", torch.full((1, 1, 2), 3.0)), torch.zeros(1, 1, 2))


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        (None, "solver.fields.pressure.bounds"),
        ({"pressure": (Moments(count=0, mean=0.0, std=0.0),)}, "solver.fields.pressure.bounds"),
        ({"pressure": (Moments(count=3, mean=math.nan, std=1.0),)}, "not finite"),
    ],
)
def test_a_field_without_bounds_needs_usable_statistics(
    statistics: dict[str, tuple[Moments, ...]] | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Normalization(QUANTITIES, LAYOUT).freeze(statistics)


def test_it_predicts_fields_of_global_shape_in_original_units() -> None:
    built = surrogate()
    predicted = built.predict({"left": 5, "right": 7}, step=5)
    # Parameters and step in the middle of their bounds: the network sees zeros.
    expected = {
        name: values[0].detach().numpy()
        for name, values in built.network(parameters=torch.zeros(1, 2), time=torch.zeros(1)).items()
    }
    np.testing.assert_allclose(predicted["temperature"], 300 + 200 * expected["temperature"][0], rtol=1e-5)
    np.testing.assert_allclose(predicted["pressure"], 1e5 + 200 * expected["pressure"][0], rtol=1e-5)
    assert (predicted["temperature"].shape, predicted["pressure"].shape) == ((3, 4), (5,))
    assert built.training


def test_a_batch_and_predict_agree() -> None:
    built = surrogate()
    batch = Batch(
        simulations=torch.tensor([0, 1]),
        steps=torch.tensor([2, 4]),
        times=torch.tensor([0.2, 0.4], dtype=torch.float64),
        parameters=torch.tensor([[3.0, 7.0], [8.0, 7.0]], dtype=torch.float64),
        fields={},
    )
    made = built(batch)
    for row, (left, step) in enumerate([(3, 2), (8, 4)]):
        for name, values in built.predict({"right": 7, "left": left}, step=step).items():
            np.testing.assert_allclose(values, made[name][row].detach().numpy(), rtol=1e-6)


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
    "model",
    [partial(MLP, hidden=(16, 8), activation=nn.GELU), partial(MLP, activation=partial(nn.ELU, alpha=0.5)), Tied],
)
def test_a_loaded_surrogate_predicts_the_same_numbers(tmp_path: Path, model: object) -> None:
    built = surrogate(model)
    folder = tmp_path / "surrogate"
    save_surrogate(built, folder)
    loaded = load_surrogate(folder)
    for step in (0, 3):
        mine = built.predict({"left": 2.5, "right": 7}, step=step, time=0.1 * step)
        theirs = loaded.predict({"left": 2.5, "right": 7}, step=step, time=0.1 * step)
        for name in ("temperature", "pressure"):
            np.testing.assert_array_equal(mine[name], theirs[name])
    assert not loaded.training
    assert loaded.layout == LAYOUT
    assert sorted(p.name for p in folder.iterdir()) == ["surrogate.json", "weights.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_a_loaded_operator_has_its_inputs_and_components_again(tmp_path: Path) -> None:
    layout = Layout(
        fields=(FieldSpec(name="force", shape=(4,)), FieldSpec(name="velocity", shape=(2, 4), components=2)),
        parameters=("a",),
    )
    built = build_surrogate(
        layout=layout,
        parameter_bounds={"a": (0.0, 1.0)},
        num_steps=4,
        model=partial(MLP, hidden=(8,)),
        task=partial(Operator, inputs=["force"]),
    )
    built.normalization.freeze(
        {"force": (Moments(count=1, mean=0, std=1),), "velocity": (Moments(count=1, mean=0, std=1),) * 2}
    )
    save_surrogate(built, tmp_path / "surrogate")
    loaded = load_surrogate(tmp_path / "surrogate")
    assert loaded.layout == layout
    asked = {"fields": {"force": np.arange(4.0)}, "step": 2}
    mine, theirs = (one.predict({"a": 0.3}, **asked) for one in (built, loaded))
    assert {name: values.shape for name, values in theirs.items()} == {"velocity": (2, 4)}
    np.testing.assert_array_equal(mine["velocity"], theirs["velocity"])


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    built = surrogate()
    save_surrogate(built, tmp_path / "surrogate")
    with torch.no_grad():
        next(built.network.parameters()).add_(1.0)
    save_surrogate(built, tmp_path / "surrogate")
    loaded = load_surrogate(tmp_path / "surrogate")
    torch.testing.assert_close(loaded.state_dict(), built.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_one_whose_training_did_not_come_to_its_end_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    save_surrogate(surrogate(), tmp_path / "surrogate", incomplete="interrupted by SIGINT")
    with pytest.warns(UserWarning, match=r"surrogate was saved before .* its end: interrupted by SIGINT"):
        loaded = load_surrogate(tmp_path / "surrogate")
    assert loaded.layout == LAYOUT
    save_surrogate(surrogate(), tmp_path / "surrogate")
    load_surrogate(tmp_path / "surrogate")  # a warning would be an error


def test_an_unfinished_save_leaves_the_former_one(tmp_path: Path) -> None:
    built = surrogate()
    save_surrogate(built, tmp_path / "surrogate")
    built.layout = Layout(fields=LAYOUT.fields, parameters=(object(),))  # cannot be written as JSON
    with pytest.raises(TypeError):
        save_surrogate(built, tmp_path / "surrogate")
    assert load_surrogate(tmp_path / "surrogate").layout == LAYOUT
    assert [p.name for p in tmp_path.iterdir()] == ["surrogate"]


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no surrogate.json"):
        load_surrogate(tmp_path)
    save_surrogate(surrogate(), tmp_path / "surrogate")
    description = tmp_path / "surrogate" / "surrogate.json"
    written = json.loads(description.read_text())
    description.write_text(json.dumps(written | {"model": {"_target_": "gone.with.TheWind"}}))
    with pytest.raises(ConfigurationError, match=r"the model of .*surrogate is 'gone.with.TheWind'"):
        load_surrogate(tmp_path / "surrogate")
    description.write_text(json.dumps(written | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_surrogate(tmp_path / "surrogate")


def test_what_nobody_could_load_again_is_refused_before_training() -> None:
    with pytest.raises(TypeError, match="cannot be imported"):
        surrogate(lambda problem: MLP(problem))
    with pytest.raises(TypeError, match="cannot be imported"):
        surrogate(task=lambda layout: Direct(layout))
    with pytest.raises(TypeError, match=r"'hidden'.*cannot be written as JSON"):
        surrogate(partial(MLP, hidden=np.array([3])))


def test_parameters_without_bounds_are_told() -> None:
    with pytest.raises(ValueError, match="right have no bounds"):
        build_surrogate(layout=LAYOUT, parameter_bounds={"left": (0.0, 1.0)}, model=MLP)
