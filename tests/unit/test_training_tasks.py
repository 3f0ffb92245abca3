"""Tasks: what a network is given, what is measured, and the way back to the fields of the solver."""

import numpy as np
import pytest
import torch
from torch import nn

from melissa_like.loading import Batch, Moments
from melissa_like.models import FieldShape
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import Direct, Normalization, Operator, Task

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
    made = task.advance(network, scale, batch, 0.0)
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
    task.advance(network, scale, batch, 0.0)
    assert sorted(network.given) == ["fields", "parameters", "time"]
    given = network.given["fields"]
    assert isinstance(given, dict)
    torch.testing.assert_close(given["force"], ((batch.fields["force"].float() - 1) / 2).unsqueeze(1))


@pytest.mark.parametrize("task", [Direct(LAYOUT), Operator(LAYOUT, inputs=["force"])])
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
