"""Learning on meshes that differ: tasks, losses, validation and predictions against their definitions."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from melissa_like.loading import Batch, Moments, SoloCollective, batch_from_samples
from melissa_like.models import MeshMessagePassing, Problem
from melissa_like.records import (
    FieldSpec,
    FormedWindows,
    Layout,
    Purpose,
    Sample,
    SampleKey,
    StudyWideField,
    Window,
    static_fields,
)
from melissa_like.training import (
    Autoregressive,
    Direct,
    FieldLosses,
    Operator,
    Optimization,
    Probe,
    Surrogate,
    Suspects,
    TaskFactory,
    TrainingRecipe,
    ValidationSet,
    build_surrogate,
    l1,
    load_surrogate,
    mse,
    relative_l2,
    save_surrogate,
    train,
    try_out,
)
from melissa_like.training.validation.rollouts import correlations_of

CPU = torch.device("cpu")
POINTS, CELLS = "num_points", "num_cells"
STATIC = (
    FieldSpec(name="coordinates", shape=(2, 0), components=2, extent=POINTS, dtype="float64"),
    FieldSpec(name="cells", shape=(3, 0), components=3, extent=CELLS, indexes=POINTS, dtype="int32"),
    FieldSpec(name="kind", shape=(3,)),
)
WIDE = (StudyWideField(spec=FieldSpec(name="basis", shape=(2,)), values=np.array([1.0, 2.0], dtype=np.float32)),)
LAYOUT = Layout(
    fields=(
        FieldSpec(name="u", shape=(2, 0), components=2, extent=POINTS),
        FieldSpec(name="p", shape=(0,), extent=POINTS, dtype="float64"),
        FieldSpec(name="drag", shape=(1,)),
    ),
    parameters=("a", "b"),
    static=STATIC,
    study_wide=WIDE,
)
BOUNDS = {"a": (0.0, 1.0), "b": (-1.0, 1.0)}
NETWORK = partial(MeshMessagePassing, hidden=8, layers=1)
SIZES = {0: 5, 1: 9, 2: 4}

TASKS: dict[str, TaskFactory] = {
    "direct": Direct,
    "same step": partial(Operator, inputs=["p"]),
    "first step": partial(Operator, initial=["u"], window={"length": 3}),
    "autoregressive": partial(Autoregressive, history=2, horizon=2, time=True),
    "values": partial(Autoregressive, residual=False, inputs=["p"], bundle=2),
}


def arrays(simulation: int, step: int | None, seed: int = 0) -> dict[str, np.ndarray]:
    """What a simulation sends at a step, or once."""
    sizes = {POINTS: SIZES[simulation], CELLS: SIZES[simulation] + 2}
    layout = LAYOUT.sized(sizes)
    draw = np.random.default_rng([simulation, seed, 0 if step is None else 1 + step])
    return {
        spec.name: (
            draw.normal(size=spec.shape) if spec.indexes is None else draw.integers(sizes[POINTS], size=spec.shape)
        ).astype(spec.numpy_dtype)
        for spec in (layout.static if step is None else layout.fields)
    }


def samples(window: Window | None, simulations: tuple[int, ...] = (0, 1, 2), first: int = 3) -> list[list[Sample]]:
    made = []
    for simulation in simulations:
        static = static_fields(
            LAYOUT.sized({POINTS: SIZES[simulation], CELLS: SIZES[simulation] + 2}), arrays(simulation, None)
        )
        steps = [first] if window is None else window.steps_from(first)
        made.append(
            [
                Sample(
                    key=SampleKey(simulation, step),
                    attempt=1,
                    purpose=Purpose.VALIDATION,
                    time=0.5 * step,
                    parameters=np.array([0.1 * simulation, 0.5]),
                    fields=tuple(arrays(simulation, step).values()),
                    static=static,
                )
                for step in steps
            ]
        )
    return made


def sent(window: Window | None, simulations: tuple[int, ...] = (0, 1, 2)) -> Batch:
    return batch_from_samples(samples(window, simulations), LAYOUT, has_windows=window is not None, device=CPU)


def surrogate_of(task: TaskFactory) -> Surrogate:
    torch.manual_seed(0)
    built = build_surrogate(layout=LAYOUT, model=NETWORK, task=task, parameter_bounds=BOUNDS, num_steps=10)
    probe = Probe(layout=LAYOUT, bounds=BOUNDS, num_steps=10, device=CPU, window=built.task.window)
    built.normalization.freeze(probe.statistics(built), probe.time_range)
    return built


def test_the_points_of_a_batch_follow_one_another() -> None:
    batch = sent(None)
    assert batch.offsets[POINTS].tolist() == [0, 5, 14, 18]
    assert {name: tuple(values.shape) for name, values in batch.fields.items()} == {
        "u": (18, 2),
        "p": (18, 1),
        "drag": (3, 1),
    }
    np.testing.assert_array_equal(batch.fields["u"][5:14].T, arrays(1, 3)["u"])
    np.testing.assert_array_equal(batch.static["cells"][7 + 11 :].T, arrays(2, None)["cells"] + 14)
    np.testing.assert_array_equal(batch.static["kind"][1], arrays(1, None)["kind"])
    assert batch.static["basis"].tolist() == [1.0, 2.0]


def test_a_window_has_its_steps_behind_the_points() -> None:
    batch = sent(Window(length=3))
    assert {name: tuple(values.shape) for name, values in batch.fields.items()} == {
        "u": (18, 3, 2),
        "p": (18, 3, 1),
        "drag": (3, 3, 1),
    }
    np.testing.assert_array_equal(batch.fields["u"][14:, 2].T, arrays(2, 5)["u"])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_restored_targets_are_the_truth(task: TaskFactory) -> None:
    surrogate = surrogate_of(task)
    batch = sent(surrogate.task.window)
    targets = surrogate.task.targets(surrogate.normalization, batch)
    restored = surrogate.task.restore(surrogate.normalization, batch, targets)
    for name, values in surrogate.task.truth(batch).items():
        torch.testing.assert_close(restored[name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.filterwarnings("ignore")
def test_a_training_is_tried_with_made_up_meshes(task: TaskFactory, num_ranks: int, tmp_path: Path) -> None:
    try_out(
        partial(build_surrogate, layout=LAYOUT, model=NETWORK, task=task, parameter_bounds=BOUNDS, num_steps=10),
        TrainingRecipe(optimization=Optimization()),
        train,
        probe=Probe(layout=LAYOUT, bounds=BOUNDS, num_steps=10, device=CPU),
        sizes=(4, 1),
        num_ranks=num_ranks,
        suspects=Suspects(names={"model": "mine.Network", "training.task": "mine.Task"}),
        folder=tmp_path,
    )


def pieces(values: Tensor, batch: Batch) -> list[np.ndarray]:
    """What each sample has of a field on the points."""
    return [part.double().numpy() for part in torch.tensor_split(values, batch.offsets[POINTS][1:-1])]


@pytest.mark.parametrize(
    ("loss", "of_one"),
    [
        (mse, lambda made, true: np.mean((made - true) ** 2)),
        (l1, lambda made, true: np.mean(np.abs(made - true))),
        (relative_l2, lambda made, true: np.linalg.norm(made - true) / np.linalg.norm(true)),
    ],
)
def test_a_loss_is_that_of_each_sample_by_itself(loss, of_one) -> None:
    task, batch = Direct(LAYOUT, targets=["u"]), sent(None)
    true = batch.fields["u"]
    made = true + torch.randn(true.shape)
    found = FieldLosses(loss, task.problem)({"u": made}, {"u": true}, batch.offsets)
    expected = [of_one(one, other) for one, other in zip(pieces(made, batch), pieces(true, batch), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_loss_of_several_steps_is_their_mean() -> None:
    task, batch = Direct(LAYOUT, targets=["u"]), sent(Window(length=3))
    true = batch.fields["u"]
    made = true + torch.randn(true.shape)
    losses = FieldLosses(relative_l2, task.problem)
    each = [losses({"u": made[:, step]}, {"u": true[:, step]}, batch.offsets) for step in range(3)]
    together = losses({"u": made}, {"u": true}, batch.offsets)
    torch.testing.assert_close(together, torch.stack(each).mean(dim=0))


def test_a_number_counts_beside_thousands_of_points() -> None:
    task, batch = Direct(LAYOUT), sent(None)
    zeros = {name: torch.zeros_like(values.float()) for name, values in batch.fields.items()}
    wrong = {name: values + 1.0 for name, values in zeros.items()}
    losses = FieldLosses(mse, task.problem)
    for name, share in {"u": 0.5, "p": 0.25, "drag": 0.25}.items():
        found = losses(zeros | {name: wrong[name]}, zeros, batch.offsets)
        torch.testing.assert_close(found, torch.full((3,), share))


def filled(window: Window | None, num_windows: int = 1) -> ValidationSet:
    held_out = ValidationSet(LAYOUT, window=window)
    for simulation in SIZES:
        (steps,) = samples(window and Window(length=window.length + num_windows - 1), (simulation,), first=0)
        for made in steps:
            assert made.static is not None
            held_out.begin(simulation, 1, LAYOUT.sized(made.static.extents))
            memory = held_out.reserve(simulation, 1, made.key.step)
            for array, given in zip(memory, made.fields, strict=True):
                array[...] = given
            first = -1 if window is None else made.key.step - window.length + 1
            formed = None if window is None else FormedWindows(complete=(first,) if first >= 0 else ())
            held_out.take(replace(made, fields=memory, windows=formed), 0.0)
    return held_out


def ratio(made: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(made - true) / np.linalg.norm(true))


def static_of(simulation: int) -> dict[str, np.ndarray]:
    return arrays(simulation, None)


def test_an_evaluation_is_the_mean_over_what_is_predicted_for_each_mesh() -> None:
    surrogate, held_out = surrogate_of(Direct), filled(None)
    report = held_out.evaluate(surrogate, FieldLosses(mse, surrogate.task.problem), SoloCollective(), batches=1)
    ratios = []
    for simulation in SIZES:
        parameters = {"a": 0.1 * simulation, "b": 0.5}
        made = surrogate.predict(parameters, step=0, static=static_of(simulation))
        true = arrays(simulation, 0)
        assert {name: values.shape for name, values in made.items()} == {n: v.shape for n, v in true.items()}
        ratios += [ratio(made[name], true[name]) for name in made]
    assert report is not None
    assert report.num_samples == 3
    assert report.relative_l2 == pytest.approx(np.mean(ratios), rel=1e-5)


def test_roll_outs_are_compared_with_what_each_mesh_did() -> None:
    surrogate = surrogate_of(partial(Autoregressive, residual=False))
    held_out = filled(surrogate.task.window, num_windows=3)
    report = held_out.evaluate(surrogate, FieldLosses(mse, surrogate.task.problem), SoloCollective(), batches=1)
    assert report is not None
    assert report.rollout is not None
    ratios: dict[int, list[float]] = {0: [], 1: [], 2: []}
    stays = []
    for simulation in SIZES:
        made = surrogate.rollout(
            arrays(simulation, 0), {"a": 0.1 * simulation, "b": 0.5}, num_steps=3, static=static_of(simulation)
        )
        assert {name: values.shape[1:] for name, values in made.items()} == {
            name: values.shape for name, values in arrays(simulation, 0).items()
        }
        for step, errors in ratios.items():
            true, before = arrays(simulation, step + 1), arrays(simulation, step)
            errors += [ratio(made[name][step], true[name]) for name in made]
            stays += [ratio(before[name], true[name]) for name in made]
    assert [step.mean for step in report.rollout.by_step] == pytest.approx(
        [np.mean(errors) for errors in ratios.values()], rel=1e-4
    )
    assert report.rollout.persistence == pytest.approx(np.mean(stays), rel=1e-5)


def test_correlations_are_those_of_each_mesh() -> None:
    true = torch.randn(12, 2, 3, dtype=torch.float64)
    made = true + torch.randn(12, 2, 3)
    points = torch.tensor([0, 5, 12])
    found = correlations_of(made, true, points)
    for sample, rows in enumerate((slice(0, 5), slice(5, 12))):
        for step in range(2):
            expected = np.corrcoef(made[rows, step].flatten(), true[rows, step].flatten())[0, 1]
            assert found[sample, step].item() == pytest.approx(expected)


class Copies(nn.Module):
    """The last known step, plus what moves each point by its place, times the parameter."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.speed = nn.Parameter(torch.tensor(0.5))

    def forward(self, *, fields, offsets, static, parameters) -> dict[str, Tensor]:
        counts = offsets[POINTS].diff()
        speed = self.speed * parameters[:, :1].repeat_interleave(counts, dim=0)
        return {"u": fields["u"][:, -2:] + speed * static["coordinates"]}


def test_a_roll_out_goes_on_from_its_own_steps_on_its_own_mesh() -> None:
    built = build_surrogate(
        layout=LAYOUT,
        model=Copies,
        task=partial(Autoregressive, targets=["u"], residual=False, history=2),
        parameter_bounds=BOUNDS,
        num_steps=10,
    )
    one = Moments(count=1, mean=0.0, std=1.0)
    built.normalization.freeze({name: (one,) * components for name, components in built.task.quantities.items()})
    once = static_of(1)
    made = built.rollout({"u": np.zeros((2, 2, 9))}, {"a": 1.0, "b": 0.0}, num_steps=4, static=once)["u"]
    np.testing.assert_allclose(made, 0.5 * np.arange(1, 5)[:, None, None] * once["coordinates"], rtol=1e-5)


def test_a_part_of_what_is_static_can_be_left_out() -> None:
    surrogate = surrogate_of(partial(Direct, static=["coordinates", "cells"]))
    assert [*surrogate.task.problem.static] == ["coordinates", "cells"]
    mesh = {name: values for name, values in static_of(1).items() if name != "kind"}
    assert surrogate.predict({"a": 0.0, "b": 0.0}, step=0, static=mesh)["u"].shape == (2, SIZES[1])
    assert Direct(LAYOUT, static=False).problem.static == {}
    with pytest.raises(ValueError, match="of the solver are coordinates, cells, kind, basis"):
        Direct(LAYOUT, static=["mask"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"coordinates": None}, r"the static data are cells, kind, expected coordinates, cells, kind"),
        ({"coordinates": np.zeros((3, 5))}, r"has the shape \(3, 5\), expected \(2, num_points\)"),
        ({"cells": np.full((3, 4), 0.5)}, "field 'cells' holds 0.5, expected whole numbers of int"),
        ({"cells": np.full((3, 4), np.nan)}, "field 'cells' holds nan, expected whole numbers of int"),
        ({"cells": np.full((3, 4), 2**40)}, "field 'cells' holds 1099511627776, expected whole numbers of int32"),
        ({"cells": np.full((3, 4), 9)}, "numbers of points from 9 to 9, and there are 9 points"),
        ({"kind": np.zeros(4)}, r"field 'kind' has the shape \(4,\), expected \(3,\)"),
    ],
)
def test_static_data_that_do_not_fit_are_told(changed, message) -> None:
    surrogate = surrogate_of(Direct)
    given = {name: values for name, values in (static_of(1) | changed).items() if values is not None}
    with pytest.raises(ValueError, match=message):
        surrogate.predict({"a": 0.0, "b": 0.0}, step=0, static=given)


@pytest.mark.parametrize(
    ("targets", "static", "given"),
    [(["u"], False, {}), (["u"], ["cells"], {"cells": np.zeros((3, 4))}), (["drag"], ["cells"], {"cells": [[0]] * 3})],
)
def test_a_size_that_follows_from_nothing_is_told(targets, static, given) -> None:
    task = Direct(LAYOUT, targets=targets, static=static)
    with pytest.raises(ValueError, match="num_points does not follow from what is given"):
        task.request({"a": 0.0, "b": 0.0}, step=0, static=given)


def test_fields_and_coordinates_of_other_meshes_are_told() -> None:
    surrogate = surrogate_of(TASKS["same step"])
    with pytest.raises(ValueError, match="num_points is 9 in 'p' and 4 in 'coordinates'"):
        surrogate.predict({"a": 0.0, "b": 0.0}, step=0, fields={"p": np.zeros(9)}, static=static_of(2))


def test_what_was_saved_predicts_on_a_mesh_that_nobody_has_seen(tmp_path: Path) -> None:
    surrogate = surrogate_of(Direct)
    save_surrogate(surrogate, tmp_path / "surrogate")
    loaded = load_surrogate(tmp_path / "surrogate")
    num_points = 1 + max(SIZES.values())
    mesh = {
        "coordinates": np.random.default_rng(5).random((2, num_points)),
        "cells": np.stack([np.roll(np.arange(num_points), shift) for shift in range(3)]),
        "kind": np.ones(3),
    }
    predicted, expected = (each.predict({"a": 0.3, "b": 0.2}, step=0, static=mesh) for each in (loaded, surrogate))
    shapes = {name: values.shape for name, values in predicted.items()}
    assert shapes == {"u": (2, num_points), "p": (num_points,), "drag": (1,)}
    for name, values in expected.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(predicted[name], values)
    assert loaded.layout.study_wide == surrogate.layout.study_wide


def test_what_depends_on_a_mesh_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep it as it is with save_surrogate"):
        surrogate_of(Direct).export(tmp_path / "mesh.pt2")
