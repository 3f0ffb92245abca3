"""The autoregressive task: what a linear network must reproduce exactly, and which calls have a gradient."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from melissa_like.loading import Batch, moments_of
from melissa_like.models import MLP, FieldShape, Problem
from melissa_like.records import FieldSpec, Layout, Window, num_steps_in_no_window
from melissa_like.training import (
    Autoregressive,
    FieldLosses,
    Normalization,
    Objective,
    Operator,
    Surrogate,
    Task,
    build_surrogate,
    load_surrogate,
    mse,
    save_surrogate,
)
from melissa_like.training.curriculum import Gradual, Pushforward, RollOut, TeacherForcing, Unrolling

LAYOUT = Layout(
    fields=(
        FieldSpec(name="state", shape=(2, 4), components=2),
        FieldSpec(name="level", shape=(4,), dtype="float64"),
        FieldSpec(name="force", shape=(4,)),
    ),
    parameters=("a",),
)
NUM_SIMULATIONS = 6


def sent(length: int, *, inputs: bool = True) -> Batch:
    """A linear system: the state turns, the level follows the force and the state's first component."""
    generator = torch.Generator().manual_seed(0)
    state, level = torch.randn(NUM_SIMULATIONS, 2, 4, generator=generator), torch.zeros(NUM_SIMULATIONS, 4).double()
    turn = torch.tensor([[0.9, -0.3], [0.3, 0.9]])
    steps: dict[str, list[Tensor]] = {"state": [], "level": [], "force": []}
    for step in range(length):
        force = torch.sin(torch.arange(4) + torch.tensor(0.5 * step)).expand(NUM_SIMULATIONS, 4)
        for name, values in (("state", state), ("level", level + 3), ("force", force)):
            steps[name].append(values)
        level = 0.8 * level + 0.1 * force + 0.2 * state[:, 0]
        state = torch.einsum("ij,bjx->bix", turn, state)
    fields = {name: torch.stack(values, dim=1) for name, values in steps.items() if inputs or name != "force"}
    return Batch(
        simulations=torch.arange(NUM_SIMULATIONS),
        steps=torch.zeros(NUM_SIMULATIONS, dtype=torch.int64),
        times=torch.arange(length).double().expand(NUM_SIMULATIONS, length),
        parameters=torch.rand(NUM_SIMULATIONS, 1, generator=generator, dtype=torch.float64),
        fields=fields,
    )


def normalized(task: Task, batch: Batch) -> Normalization:
    scale = Normalization(task.quantities, LAYOUT)
    scale.set_inputs([(0.0, 1.0)], num_steps=20)
    scale.freeze({name: moments_of(values) for name, values in task.measure(batch).items()})
    return scale


class Linear(nn.Module):
    """An affine map of the components of each point."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.shapes = problem.targets
        given = sum(shape.components for shape in problem.fields.values())
        self.layer = nn.Linear(given, sum(shape.components for shape in self.shapes.values()))

    def forward(self, *, fields: dict[str, Tensor], parameters: Tensor | None = None) -> dict[str, Tensor]:
        made = self.layer(torch.cat([*fields.values()], dim=1).transpose(1, 2)).transpose(1, 2)
        parts = made.split([shape.components for shape in self.shapes.values()], dim=1)
        return dict(zip(self.shapes, parts, strict=True))


def fitted(task: Autoregressive) -> Surrogate:
    """A surrogate with the map that least squares finds: exact, because the system is linear."""
    surrogate = build_surrogate(
        layout=LAYOUT,
        model=Linear,
        task=partial(
            Autoregressive,
            history=task.history,
            bundle=task.bundle,
            inputs=["force"],
            residual="increment of state" in task.quantities,
        ),
        parameter_bounds={"a": (0.0, 1.0)},
        num_steps=20,
    )
    batch = sent(12)
    surrogate.normalization.freeze({name: moments_of(values) for name, values in task.measure(batch).items()})
    given: list[Tensor] = []
    hook = surrogate.network.register_forward_pre_hook(
        lambda _, __, named: given.append(torch.cat([*named["fields"].values()], dim=1)), with_kwargs=True
    )
    surrogate.task.compare(surrogate.network, surrogate.normalization, batch, 0.0)  # one call after the other
    hook.remove()
    inverse = Inverse(surrogate.task)
    wanted = [inverse(surrogate.normalization, batch, call) for call in range(len(given))]
    rows = torch.cat([values.transpose(1, 2).reshape(-1, values.shape[1]) for values in given]).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    found = torch.linalg.lstsq(rows, torch.cat(wanted).double(), driver="gelsd").solution.float()
    with torch.no_grad():
        surrogate.network.layer.weight.copy_(found[:-1].T)
        surrogate.network.layer.bias.copy_(found[-1])
    return surrogate


class Inverse:
    """What the network has to return in a call, [B·X, components]."""

    def __init__(self, task: Task) -> None:
        assert isinstance(task, Autoregressive)
        self.task = task

    def __call__(self, scale: Normalization, batch: Batch, call: int) -> Tensor:
        history, bundle = self.task.history, self.task.bundle
        first = history + call * bundle
        parts = []
        for name in ("state", "level"):
            steps = batch.fields[name].float() if name == "state" else batch.fields[name].float().unsqueeze(2)
            if "increment of state" in self.task.quantities:
                ahead = torch.arange(1, bundle + 1).view(-1, 1, 1)
                change = (steps[:, first : first + bundle] - steps[:, first - 1 : first]) / ahead
                values = scale.normalize(f"increment of {name}", change.flatten(0, 1))
            else:
                values = scale.normalize(name, steps[:, first : first + bundle].flatten(0, 1))
            parts.append(values.unflatten(0, (NUM_SIMULATIONS, bundle)).flatten(1, 2))
        return torch.cat(parts, dim=1).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("history", "bundle"), [(1, 1), (3, 1), (2, 2)])
def test_a_linear_network_rolls_a_linear_system_out_exactly(history: int, bundle: int, residual: bool) -> None:
    task = Autoregressive(LAYOUT, history=history, bundle=bundle, inputs=["force"], residual=residual)
    # The force at the last known step alone says nothing of the one after the next.
    num_steps = 7 if bundle == 1 else 2
    surrogate, batch = fitted(task), sent(history + num_steps)
    rolled = surrogate.rollout(
        {name: values[2, : None if name == "force" else history] for name, values in batch.fields.items()},
        {"a": 0.5},
        num_steps,
    )
    assert {name: values.shape for name, values in rolled.items()} == {
        "state": (num_steps, 2, 4),
        "level": (num_steps, 4),
    }
    if bundle == 1:
        np.testing.assert_allclose(rolled["level"], batch.fields["level"][2, history:], atol=2e-4)
    np.testing.assert_allclose(rolled["state"], batch.fields["state"][2, history:], atol=2e-4)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("history", "bundle", "horizon"), [(1, 1, 1), (2, 1, 3), (1, 3, 2)])
def test_restored_targets_are_the_truth(history: int, bundle: int, horizon: int, residual: bool) -> None:
    task = Autoregressive(LAYOUT, history=history, bundle=bundle, horizon=horizon, inputs=["force"], residual=residual)
    assert task.window == Window(length=history + horizon * bundle, hop=horizon * bundle)
    batch = sent(task.window.length)
    scale = normalized(task, batch)
    targets, truth = task.targets(scale, batch), task.truth(batch)
    assert targets["state"].shape == (NUM_SIMULATIONS, horizon * bundle, 2, 4)
    assert targets["level"].shape == (NUM_SIMULATIONS, horizon * bundle, 1, 4)
    for name, values in task.restore(scale, batch, targets).items():
        torch.testing.assert_close(values, truth[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values, batch.fields[name][:, history:].float(), atol=1e-5, rtol=1e-5)


def test_the_increments_between_steps_are_what_is_normalized() -> None:
    task, batch = Autoregressive(LAYOUT, horizon=8, inputs=["force"]), sent(9)
    assert dict(task.quantities) == {
        "state": 2,
        "level": 1,
        "force": 1,
        "increment of state": 2,
        "increment of level": 1,
    }
    targets = task.targets(normalized(task, batch), batch)
    for values in targets.values():
        assert values.mean(dim=(0, 1, 3)).abs().max() < 1e-5
        torch.testing.assert_close(values.std(dim=(0, 1, 3), correction=0), torch.ones(values.shape[2]))
    measured = task.measure(batch)
    assert measured["increment of level"].dtype == torch.float64  # statistics are not to lose digits
    assert {name: values.shape[1] for name, values in measured.items()} == dict(task.quantities)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
def test_increments_are_right_whatever_the_fields_are_stored_in(dtype: str) -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=(4,), dtype=dtype),), parameters=("a",))
    large = {"uint8": 255, "float16": 60_000}.get(dtype, 2**31 - 1)
    low = 0 if dtype == "uint8" else -large
    values = [[10, 10, low, large], [5, 20, large, low], [7, 7, 7, 7]]
    batch = Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.zeros(1, dtype=torch.int64),
        times=torch.arange(3).double()[None],
        parameters=torch.zeros(1, 1),
        fields={"u": torch.tensor([values], dtype=getattr(torch, dtype))},
    )
    task = Autoregressive(layout, horizon=2)
    exact = batch.fields["u"][0].double()
    measured = task.measure(batch)
    torch.testing.assert_close(measured["increment of u"].squeeze(1).double(), exact[1:] - exact[:-1])
    scale = Normalization(task.quantities, layout)
    scale.set_inputs([(0.0, 1.0)], num_steps=20)
    scale.freeze({name: moments_of(measures) for name, measures in measured.items()})
    restored = task.restore(scale, batch, task.targets(scale, batch))["u"]
    torch.testing.assert_close(restored, task.truth(batch)["u"], rtol=0, atol=1e-6 * large)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_small_increments_of_wide_fields_are_not_rounded(dtype: str, horizon: int) -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=(64,), dtype=dtype),), parameters=("a",))
    generator = torch.Generator().manual_seed(0)
    # Increments near the spacing of float32 numbers of the size of the field.
    start, size = (1e3, 1e-4) if dtype == "float64" else (1e9, 50.0)
    changes = size * torch.randn(4, horizon, 64, generator=generator, dtype=torch.float64)
    first = torch.full((4, 1, 64), start, dtype=torch.float64)
    steps = torch.cat([first, first + changes.cumsum(dim=1)], dim=1).to(getattr(torch, dtype))
    batch = Batch(
        simulations=torch.arange(4),
        steps=torch.zeros(4, dtype=torch.int64),
        times=torch.arange(1 + horizon).double().expand(4, -1),
        parameters=torch.zeros(4, 1),
        fields={"u": steps},
    )
    task = Autoregressive(layout, horizon=horizon, curriculum=RollOut())
    scale = Normalization(task.quantities, layout)
    scale.set_inputs([(0.0, 1.0)], num_steps=20)
    scale.freeze({name: moments_of(values) for name, values in task.measure(batch).items()})
    perfect = task.targets(scale, batch)["u"]
    answers = iter(perfect.unbind(dim=1))
    made, targets = task.compare(lambda **_: {"u": next(answers)}, scale, batch, 1.0)
    torch.testing.assert_close(made["u"], targets["u"], rtol=0, atol=1e-5)
    answers = iter([perfect.flatten(0, 1)])
    torch.testing.assert_close(
        task.advance(lambda **_: {"u": next(answers)}, scale, batch)["u"], perfect, rtol=0, atol=1e-5
    )
    answers = iter(perfect.unbind(dim=1))
    rolled = [*task.roll_out(lambda **_: {"u": next(answers)}, scale, batch, horizon)]
    torch.testing.assert_close(torch.cat([piece["u"] for piece in rolled], dim=1), task.truth(batch)["u"])
    assert task.restore(scale, batch, {"u": perfect})["u"].dtype == torch.float32


def test_history_and_bundle_are_stacked_the_earliest_first() -> None:
    task = Autoregressive(LAYOUT, history=3, bundle=2, horizon=1, inputs=["force"], residual=False, time=True)
    assert dict(task.problem.fields) == {
        "state": FieldShape(6, (4,), steps=3),
        "level": FieldShape(3, (4,), steps=3),
        "force": FieldShape(3, (4,), steps=3),
    }
    assert dict(task.problem.targets) == {"state": FieldShape(4, (4,), steps=2), "level": FieldShape(2, (4,), steps=2)}
    batch, given = sent(5), dict[str, object]()
    scale = normalized(task, batch)

    class Asked(nn.Module):
        def forward(self, **named: object) -> dict[str, Tensor]:
            given.update(named)
            made = torch.arange(4.0).view(1, 4, 1).expand(NUM_SIMULATIONS, 4, 4)
            return {"state": made, "level": made[:, :2]}

    made = task.advance(Asked(), scale, batch)
    assert sorted(given) == ["fields", "parameters", "time"]
    state = given["fields"]["state"].view(NUM_SIMULATIONS, 3, 2, 4)
    for step in range(3):
        torch.testing.assert_close(state[:, step], scale.normalize("state", batch.fields["state"][:, step]))
    torch.testing.assert_close(given["time"], torch.full((NUM_SIMULATIONS,), 2 * 2 / 19 - 1))
    torch.testing.assert_close(made["state"][0, :, :, 0], torch.tensor([[0.0, 1.0], [2.0, 3.0]]))


class Scaled(nn.Module):
    """One weight, and what each call was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.given: list[Tensor] = []
        self.with_gradient: list[bool] = []

    def forward(self, *, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        self.given.append(fields["level"])
        made = self.weight * fields["level"]
        self.with_gradient.append(made.requires_grad)
        return {"level": made}


def unrolled(
    curriculum: object, progress: float, horizon: int = 4
) -> tuple[Scaled, dict[str, Tensor], dict[str, Tensor]]:
    task = Autoregressive(
        LAYOUT, horizon=horizon, targets=["level"], parameters=False, residual=False, curriculum=curriculum
    )
    batch, network = sent(horizon + 1), Scaled()
    predictions, targets = task.compare(network, normalized(task, batch), batch, progress)
    return network, predictions, targets


def test_teacher_forcing_gives_the_solvers_step_to_each_call() -> None:
    network, predictions, targets = unrolled(TeacherForcing(), 0.3)
    for call in range(1, 4):
        torch.testing.assert_close(network.given[call][:, 0], targets["level"][:, call - 1, 0])
        torch.testing.assert_close(predictions["level"][:, call], 0.5 * network.given[call])


def test_a_roll_out_is_differentiated_through_all_its_calls() -> None:
    network, predictions, targets = unrolled(RollOut(), 0.3)
    torch.testing.assert_close(predictions["level"][:, 3], 0.5**4 * network.given[0])
    (slope,) = torch.autograd.grad(predictions["level"][:, 3].sum(), network.weight)
    torch.testing.assert_close(slope, 4 * 0.5**3 * network.given[0].sum())
    assert targets["level"].shape == predictions["level"].shape == (NUM_SIMULATIONS, 4, 1, 4)


def test_pushforward_has_no_gradient_through_the_first_calls() -> None:
    first = set()
    for seed in range(80):
        torch.manual_seed(seed)
        network, predictions, targets = unrolled(Pushforward(end=0.5), 1.0)
        silent = len(network.given) - 1
        assert network.with_gradient == [False] * silent + [True]
        assert predictions["level"].shape == (NUM_SIMULATIONS, 1, 1, 4)
        (slope,) = torch.autograd.grad(predictions["level"].sum(), network.weight)
        torch.testing.assert_close(slope, network.given[-1].sum())  # as if the input were the solver's
        everything = unrolled(TeacherForcing(), 1.0)
        at = next(c for c in range(4) if torch.equal(everything[0].given[c], network.given[0]))
        torch.testing.assert_close(targets["level"][:, 0], everything[2]["level"][:, at + silent])
        first.add((at, silent))
    assert first == {(at, silent) for silent in range(4) for at in range(4 - silent)}


def test_pushforward_begins_with_single_calls() -> None:
    assert {Pushforward(begin=0.2, end=0.6)(4, 0.1).silent for _ in range(20)} == {0}


def test_a_curriculum_goes_from_teacher_forcing_to_the_full_roll_out_in_equal_shares() -> None:
    runs = [Gradual(begin=0.2, end=0.6)(4, progress).run for progress in (0, 0.1, 0.25, 0.35, 0.45, 0.55, 0.6, 1)]
    assert runs == [1, 1, 1, 2, 3, 4, 4, 4]
    assert all(Gradual()(1, progress).run == 1 for progress in (0.0, 0.5, 1.0))
    network, _, targets = unrolled(Gradual(begin=0.0, end=1.0), 0.3)
    torch.testing.assert_close(network.given[1], 0.5 * network.given[0])
    torch.testing.assert_close(network.given[2], targets["level"][:, 1])


def beyond(num_calls: int, progress: float) -> Unrolling:
    return Unrolling(first=1, calls=num_calls, run=1)


def test_what_cannot_be_unrolled_is_told() -> None:
    with pytest.raises(ValueError, match="has room for 4 calls"):
        unrolled(beyond, 0.0)
    with pytest.raises(ValueError, match="more calls than silent ones"):
        Unrolling(calls=2, silent=2, run=1)
    with pytest.raises(ValueError, match="0 ≤ begin ≤ end ≤ 1"):
        Gradual(begin=0.5, end=0.2)


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_step_is_in_a_window_whatever_the_stride(stride: int, history: int) -> None:
    num_steps = 100
    for horizon in range(1, 6):
        for window in (
            Autoregressive(LAYOUT, history=history, horizon=horizon, stride=stride).window,
            Autoregressive(LAYOUT, history=history, horizon=horizon, window={"stride": stride}).window,
            Operator(LAYOUT, initial=["level"], window={"length": 1 + horizon, "stride": stride}).window,
        ):
            assert window is not None
            firsts = range(0, num_steps - window.span + 1, window.hop)
            held = {step for first in firsts for step in window.steps_from(first)}
            # At both ends a step would need a window that begins before the first one, or ends behind the last one.
            assert set(range(window.span, num_steps - window.span)) <= held
            larger = range(window.hop + 1, horizon + 1)
            assert all(math.gcd(hop, stride) > 1 for hop in larger)


def test_a_step_is_in_a_window_from_the_first_on_without_a_stride() -> None:
    for horizon in range(1, 6):
        window = Autoregressive(LAYOUT, horizon=horizon).window
        assert window == Window(length=1 + horizon, hop=horizon)
        assert num_steps_in_no_window(5 * horizon + 1, window) == 0


@pytest.mark.parametrize(
    ("options", "window"),
    [
        ({}, Window(length=2, hop=1)),
        ({"history": 2, "bundle": 5, "horizon": 2}, Window(length=12, hop=10)),
        ({"history": 2, "bundle": 5, "window": {"length": 17}}, Window(length=17, hop=15)),
        ({"stride": 3, "window": {"length": None, "stride": None, "hop": 2}}, Window(length=2, stride=3, hop=2)),
        ({"horizon": 3, "window": {"stride": 2}}, Window(length=4, stride=2, hop=3)),
    ],
)
def test_a_window_has_room_for_the_calls(options: dict[str, object], window: Window) -> None:
    task = Autoregressive(LAYOUT, **options)
    assert (task.window, task.stride) == (window, window.stride)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": {"length": 1}}, "no room for a history of 1"),
        ({"bundle": 2, "window": {"length": 4}}, "no room for a history of 1 and calls of 2 steps each"),
        ({"horizon": 3, "window": {"length": 3}}, "has room for 2 calls, but the horizon is 3"),
        ({"window": {"width": 3}}, "give some of length, stride and hop"),
        ({"inputs": ["force"], "targets": ["force"]}, "force are inputs and targets"),
        ({"inputs": ["state", "level", "force"]}, "leave one or more to be learned"),
        ({"history": 0}, "the task has history = 0: give numbers of 1 or more"),
        ({"horizon": 0, "bundle": 0}, "horizon = 0, bundle = 0"),
        ({"stride": -1}, "stride = -1"),
        ({"window": {"hop": 0}}, "give 1 or more for the length, the stride and the hop"),
    ],
)
def test_what_does_not_fit_is_told(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Autoregressive(LAYOUT, **options)


def test_a_surrogate_with_a_curriculum_is_built_again(tmp_path: Path) -> None:
    task = partial(Autoregressive, horizon=3, residual=False, curriculum=Pushforward(begin=0.25, end=0.5))
    surrogate = build_surrogate(
        layout=LAYOUT, model=Linear, task=task, parameter_bounds={"a": (0.0, 1.0)}, num_steps=20
    )
    batch = sent(4)
    surrogate.normalization.freeze({name: moments_of(values) for name, values in task(LAYOUT).measure(batch).items()})
    save_surrogate(surrogate, tmp_path / "surrogate")
    assert json.loads((tmp_path / "surrogate" / "surrogate.json").read_text())["task"]["curriculum"] == {
        "_target_": "melissa_like.training.curriculum.Pushforward",
        "begin": 0.25,
        "end": 0.5,
    }
    loaded = load_surrogate(tmp_path / "surrogate")
    start = {name: values[0, 0].numpy() for name, values in batch.fields.items()}
    mine, theirs = (each.rollout(start, {"a": 0.1}, 3) for each in (surrogate, loaded))
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name])


@pytest.mark.parametrize(
    ("fields", "num_steps", "said"),
    [
        ({"state": (3, 2, 4), "level": (3, 4)}, 2, "the fields are state, level, expected state, level, force"),
        (
            {"state": (2, 4), "level": (3, 4), "force": (4, 4)},
            2,
            r"'state' has the shape \(2, 4\), expected \(3, 2, 4\)",
        ),
        ({"state": (3, 2, 4), "level": (2, 4), "force": (4, 4)}, 2, r"'level' .* expected \(3, 4\): give 3 whole"),
        (
            {"state": (3, 2, 4), "level": (3, 4), "force": (3, 4)},
            2,
            r"'force' has the shape \(3, 4\), expected \(4, 4\)",
        ),
        ({"state": (3, 2, 4), "level": (3, 4), "force": (4, 4)}, 0, "num_steps is 0"),
    ],
)
def test_what_a_roll_out_cannot_begin_with_is_told(
    fields: dict[str, tuple[int, ...]], num_steps: int, said: str
) -> None:
    surrogate = fitted(Autoregressive(LAYOUT, history=3, inputs=["force"]))
    with pytest.raises(ValueError, match=said):
        surrogate.rollout({name: np.zeros(shape) for name, shape in fields.items()}, {"a": 0.5}, num_steps)
    with pytest.raises(TypeError, match="call rollout"):
        surrogate.predict({"a": 0.5}, step=1)


def gradients(*, compiled: bool) -> list[Tensor]:
    """Losses and gradients of some training steps, with and without silent calls."""
    torch.manual_seed(0)
    task = partial(Autoregressive, horizon=3, curriculum=Pushforward(end=0.0))
    surrogate = build_surrogate(
        layout=LAYOUT, model=Linear, task=task, parameter_bounds={"a": (0.0, 1.0)}, num_steps=20
    )
    batch, found = sent(4), list[Tensor]()
    surrogate.normalization.freeze({name: moments_of(v) for name, v in task(LAYOUT).measure(batch).items()})
    if compiled:
        surrogate.network.compile(backend="aot_eager")  # all of torch.compile but the making of machine code
    objective = Objective(surrogate, FieldLosses(mse, surrogate.task.problem))
    for seed in range(6):
        torch.manual_seed(seed)
        losses = objective(batch, 1.0)
        assert losses.shape == (NUM_SIMULATIONS,)
        found += [losses.detach(), *torch.autograd.grad(losses.sum(), [*surrogate.network.parameters()])]
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_network_that_is_called_several_times_has_the_same_gradients() -> None:
    try:
        torch.testing.assert_close(gradients(compiled=True), gradients(compiled=False))
    finally:
        torch.compiler.reset()


def test_a_rank_without_samples_has_a_zero_for_every_weight() -> None:
    task = partial(Autoregressive, horizon=3)
    surrogate = build_surrogate(
        layout=LAYOUT, model=Linear, task=task, parameter_bounds={"a": (0.0, 1.0)}, num_steps=20
    )
    nothing = Objective(surrogate, FieldLosses(mse, surrogate.task.problem))(None, 0.5)
    slopes = torch.autograd.grad(nothing, [*surrogate.network.parameters()])
    assert all(slope.abs().max() == 0 for slope in slopes)


@pytest.mark.parametrize(("history", "bundle"), [(1, 1), (3, 2)])
def test_a_validation_makes_all_calls_of_a_sample_at_once_and_gets_the_same(history: int, bundle: int) -> None:
    task = Autoregressive(
        LAYOUT, history=history, bundle=bundle, horizon=3, inputs=["force"], time=True, curriculum=TeacherForcing()
    )
    torch.manual_seed(0)
    network, sizes = MLP(task.problem, hidden=(8,)), list[int]()
    network.register_forward_pre_hook(lambda _, __, named: sizes.append(len(named["time"])), with_kwargs=True)
    batch = sent(task.window.length)
    scale = normalized(task, batch)
    expected, targets = task.compare(network, scale, batch, 0.5)
    made = task.advance(network, scale, batch)
    assert sizes == [NUM_SIMULATIONS] * 3 + [3 * NUM_SIMULATIONS]
    for name, values in task.targets(scale, batch).items():
        torch.testing.assert_close(made[name], expected[name])
        torch.testing.assert_close(values, targets[name])
