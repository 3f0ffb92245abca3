"""Tasks: what a network is given, what is measured, and the way back to the fields of the solver."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from melissa_like.loading import Batch, Moments
from melissa_like.models import FieldShape, Problem
from melissa_like.records import FieldSpec, Layout, Window
from melissa_like.training import Direct, FieldLosses, Normalization, Operator, Task, per_sample_mean, relative_l2

LAYOUT = Layout(
    fields=(
        FieldSpec(name="force", shape=(3, 4), dtype="float64"),
        FieldSpec(name="velocity", shape=(2, 3, 4), components=2),
        FieldSpec(name="pressure", shape=(3, 4), bounds=(0.0, 4.0)),
    ),
    parameters=("a", "b"),
)
GRID = (3, 4)
MOMENTS = {
    "force": (Moments(count=1, mean=1.0, std=2.0),),
    "velocity": (Moments(count=1, mean=0.0, std=4.0), Moments(count=1, mean=5.0, std=0.5)),
}


class Asked(nn.Module):
    """Keeps what it was given; its answer is zero everywhere."""

    def __init__(self, targets: dict[str, FieldShape]) -> None:
        super().__init__()
        self.targets = targets
        self.given: dict[str, object] = {}

    def forward(self, **given: object) -> dict[str, torch.Tensor]:
        self.given = given
        return {name: torch.zeros(5, shape.components, *shape.grid) for name, shape in self.targets.items()}


class Shifted(Direct):
    """A task of the user's, which learns other values than the solver's."""

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {name: values - 3 for name, values in super().measure(batch).items()}

    def restore(
        self, scale: Normalization, batch: Batch, values: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return {name: restored + 3 for name, restored in super().restore(scale, batch, values).items()}


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        simulations=torch.arange(5),
        steps=torch.arange(5),
        times=torch.arange(5).double() / 10,
        parameters=torch.rand(5, 2, generator=generator, dtype=torch.float64),
        fields={
            field.name: torch.rand(5, *field.shape, generator=generator, dtype=getattr(torch, field.dtype))
            for field in LAYOUT.fields
        },
    )


def scale_of(task: Task) -> Normalization:
    scale = Normalization(task.quantities, LAYOUT)
    scale.set_inputs([(0.0, 2.0), (0.0, 2.0)], num_steps=5)
    scale.freeze(MOMENTS)
    return scale


def test_the_direct_surrogate_goes_from_parameters_and_step_to_all_fields(batch: Batch) -> None:
    task = Direct(LAYOUT)
    assert task.window is None
    assert dict(task.problem.targets) == {
        "force": FieldShape(1, GRID),
        "velocity": FieldShape(2, GRID),
        "pressure": FieldShape(1, GRID),
    }
    network, scale = Asked(dict(task.problem.targets)), scale_of(task)
    made = task.advance(network, scale, batch)
    assert sorted(network.given) == ["parameters", "time"]
    torch.testing.assert_close(network.given["parameters"], batch.parameters.float() - 1)
    torch.testing.assert_close(network.given["time"], torch.linspace(-1, 1, 5))
    restored = task.restore(scale, batch, made)
    torch.testing.assert_close(restored["velocity"][0, 1], torch.full(GRID, 5.0))
    torch.testing.assert_close(restored["pressure"], torch.full((5, *GRID), 2.0))


def test_an_operator_is_given_fields_of_the_same_step(batch: Batch) -> None:
    task = Operator(LAYOUT, inputs=["force"])
    assert dict(task.problem.fields) == {"force": FieldShape(1, GRID)}
    assert sorted(task.problem.targets) == ["pressure", "velocity"]
    network, scale = Asked(dict(task.problem.targets)), scale_of(task)
    task.advance(network, scale, batch)
    assert sorted(network.given) == ["fields", "parameters", "time"]
    given = network.given["fields"]
    assert isinstance(given, dict)
    torch.testing.assert_close(given["force"], ((batch.fields["force"].float() - 1) / 2).unsqueeze(1))


@pytest.mark.parametrize("task", [Direct(LAYOUT), Shifted(LAYOUT), Operator(LAYOUT, inputs=["force"])])
def test_restored_targets_are_the_truth(task: Task, batch: Batch) -> None:
    scale = scale_of(task)
    truth = task.truth(batch)
    for name, values in task.restore(scale, batch, task.targets(scale, batch)).items():
        assert truth[name].shape == batch.fields[name].shape
        torch.testing.assert_close(values, truth[name])
    assert sorted(truth) == sorted(task.problem.targets)


@pytest.mark.parametrize("task", [Direct(LAYOUT), Operator(LAYOUT, inputs=["force"])])
def test_what_is_measured_has_the_components_that_are_declared(task: Task, batch: Batch) -> None:
    measured = task.measure(batch)
    assert {name: values.shape[1] for name, values in measured.items()} == dict(task.quantities)
    assert measured["force"].dtype == torch.float64  # statistics are not to lose digits


@pytest.mark.parametrize("inputs", [[], ["froce"], ["force", "velocity", "pressure"]])
def test_an_operator_needs_inputs_and_something_to_learn(inputs: list[str]) -> None:
    with pytest.raises(ValueError, match="the solver sends force, velocity, pressure"):
        Operator(LAYOUT, inputs=inputs)


def test_some_fields_are_learned_and_the_others_are_not_looked_at(batch: Batch) -> None:
    for task in (Direct(LAYOUT, targets=["pressure"]), Operator(LAYOUT, inputs=["force"], targets=["pressure"])):
        assert sorted(task.problem.targets) == ["pressure"]
        assert "velocity" not in task.quantities
        assert sorted(task.truth(batch)) == sorted(task.targets(scale_of(task), batch)) == ["pressure"]


@pytest.mark.parametrize("targets", [[], ["froce"], ["velocity", "force"], "velocity"])
def test_what_is_learned_must_be_fields_that_are_no_inputs(targets: list[str]) -> None:
    with pytest.raises(ValueError, match=r"give a list of one or more|force are inputs and"):
        Operator(LAYOUT, inputs=["force"], targets=targets)


def test_what_an_operator_is_asked_must_be_the_whole_input() -> None:
    task, parameters = Operator(LAYOUT, inputs=["force"]), {"a": 1.0, "b": 2.0}
    asked = task.request(parameters, fields={"force": np.ones(GRID)}, step=3)
    assert asked.fields["force"].shape == (1, *GRID)
    assert (asked.steps.item(), asked.times.item(), asked.parameters.tolist()) == (3, 3.0, [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"expected \['force'\]"):
        task.request(parameters, fields={}, step=3)
    with pytest.raises(ValueError, match=r"'force' has the shape \(4, 3\), expected \(3, 4\)"):
        task.request(parameters, fields={"force": np.ones((4, 3))}, step=3)
    with pytest.raises(ValueError, match="missing: b"):
        task.request({"a": 1.0}, fields={"force": np.ones(GRID)}, step=3)


def windows(batch: Batch, length: int) -> Batch:
    """A batch of windows, each of different fields."""
    generator = torch.Generator().manual_seed(1)
    return Batch(
        simulations=batch.simulations,
        steps=batch.steps,
        times=batch.times[:, None] + torch.arange(length),
        parameters=batch.parameters,
        fields={
            name: torch.rand(values.shape[0], length, *values.shape[1:], generator=generator, dtype=values.dtype)
            for name, values in batch.fields.items()
        },
    )


class Echo(nn.Module):
    """Returns the first field that it was given, and the time as another."""

    def forward(self, *, fields: dict[str, torch.Tensor], parameters: torch.Tensor, time: torch.Tensor) -> object:
        velocity = fields["velocity"]
        return {"velocity": velocity, "pressure": time.view(-1, 1, 1, 1).expand(-1, 1, *GRID)}


def from_first(**options: object) -> Task:
    return Operator(LAYOUT, initial=["velocity"], inputs=["force"], **options)


def test_an_operator_from_the_first_step_predicts_each_later_one_from_it(batch: Batch) -> None:
    task, held = from_first(window={"length": 4, "stride": 2}), windows(batch, 4)
    assert task.window == Window(length=4, stride=2, hop=3)
    assert list(task.problem.fields) == ["velocity", "force"]
    assert sorted(task.problem.targets) == ["pressure", "velocity"]
    scale = scale_of(task)
    made = task.restore(scale, held, task.advance(Echo(), scale, held))
    for step in range(3):
        torch.testing.assert_close(made["velocity"][:, step], held.fields["velocity"][:, 0])
    # Two, four and six steps of the solver after the first, of at most six.
    torch.testing.assert_close(made["pressure"][0, :, 0, 0], 2 * torch.tensor([-1 / 3, 1 / 3, 1.0]) + 2)


@pytest.mark.parametrize("time_range", [(0.0, 999.0), (1e6, 2e6)])
@pytest.mark.parametrize("stride", [1, 10])
def test_the_time_since_the_first_step_varies_however_long_a_simulation_is(
    batch: Batch, stride: int, time_range: tuple[float, float]
) -> None:
    task, held = from_first(window={"length": 5, "stride": stride}), windows(batch, 5)
    scale = scale_of(task)
    scale.freeze(None, time_range)
    made = task.advance(Echo(), scale, held)
    torch.testing.assert_close(made["pressure"][2, :, 0, 0, 0], torch.tensor([-0.5, 0.0, 0.5, 1.0]))


def test_a_training_step_of_it_learns_one_later_step_of_each_sample(batch: Batch) -> None:
    task, held = from_first(window={"length": 4}), windows(batch, 4)
    scale = scale_of(task)
    leads = set()
    for seed in range(20):
        torch.manual_seed(seed)
        made, targets = task.compare(Echo(), scale, held, 0.0)
        for sample in range(5):
            lead = round(1.5 * float(made["pressure"][sample, 0, 0, 0] + 1))
            expected = (held.fields["pressure"][sample, lead] - 2) / 2
            torch.testing.assert_close(targets["pressure"][sample, 0], expected)
            leads.add(lead)
    assert leads == {1, 2, 3}


def test_an_operator_from_the_first_step_rolls_out(batch: Batch) -> None:
    task = from_first(window={"length": 4})
    scale = scale_of(task)
    start = task.begin(
        {"velocity": np.ones((2, *GRID)), "force": np.zeros((4, *GRID))}, {"a": 1.0, "b": 0.0}, num_steps=3
    )
    pieces = [*task.roll_out(Echo(), scale, start, 3)]
    pressure = torch.cat([piece["pressure"] for piece in pieces], dim=1)
    torch.testing.assert_close(pressure[0, :, 0, 0], 2 * torch.tensor([-1 / 3, 1 / 3, 1.0]) + 2)
    torch.testing.assert_close(pieces[2]["velocity"][0, 0], torch.ones(2, *GRID))


def test_restored_targets_of_windows_are_the_truth(batch: Batch) -> None:
    task, held = from_first(window={"length": 3}), windows(batch, 3)
    scale, truth = scale_of(task), task.truth(held)
    assert truth["velocity"].shape == (5, 2, 2, *GRID)
    for name, values in task.restore(scale, held, task.targets(scale, held)).items():
        torch.testing.assert_close(values, truth[name])
    assert {name: values.shape[:2] for name, values in task.measure(held).items()} == {
        name: (15, components) for name, components in task.quantities.items()
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inputs": ["force"], "window": {"length": 3}}, "name the fields that are given at the first step"),
        ({"initial": ["force"], "inputs": ["force"]}, "force are inputs and initial fields"),
        ({"initial": ["force"], "window": {"length": 1}}, "no later step"),
        ({"initial": ["froce"]}, "the solver sends force, velocity, pressure"),
    ],
)
def test_an_operator_of_a_first_step_that_cannot_be_is_told(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Operator(LAYOUT, **options)


def test_the_loss_of_several_steps_is_the_mean_of_each() -> None:
    problem = Problem(targets={"u": FieldShape(4, (3,), steps=2)})
    prediction, target = torch.rand(5, 6, 2, 3), torch.rand(5, 6, 2, 3)
    losses = FieldLosses(relative_l2, problem)({"u": prediction}, {"u": target})
    each = [relative_l2(prediction[:, step], target[:, step], per_sample_mean) for step in range(6)]
    torch.testing.assert_close(losses, torch.stack(each).mean(dim=0))
    one = FieldLosses(relative_l2, problem)({"u": prediction[:, 0]}, {"u": target[:, 0]})
    torch.testing.assert_close(one, each[0])
