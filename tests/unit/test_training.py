"""Our training loop: what a step computes, what is reported, and that it learns."""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from melissa_like.loading import Batch, Moments, Turn
from melissa_like.models import MLP, FieldShape, Problem
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.training import (
    Cosine,
    FieldLosses,
    Linear,
    Optimization,
    PerSample,
    StepReport,
    Surrogate,
    TrainingRecipe,
    TrainingStream,
    TrainingSummary,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    by_scheduler,
    l1,
    mse,
    on_batches,
    on_samples,
    per_sample_mean,
    relative_l2,
    run_loop,
    train,
)
from melissa_like.training.single_values import let_single_values_pass
from tests.contract.consumers import assembled

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(2, 3)), FieldSpec(name="v", shape=(4,))), parameters=("a", "b"))
STATISTICS = {"u": (Moments(count=9, mean=1.0, std=2.0),), "v": (Moments(count=9, mean=0.0, std=0.5),)}
NUM_STEPS = 10


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def solution(parameters: torch.Tensor, steps: torch.Tensor) -> dict[str, torch.Tensor]:
    a, b, t = parameters[:, 0], parameters[:, 1], steps / NUM_STEPS
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    u = 1 + 2 * torch.sin(a[:, None] + 3 * x * t[:, None])
    v = (b * t)[:, None] * torch.linspace(-1, 1, 4, dtype=torch.float64)
    return {"u": u.reshape(-1, 2, 3).float(), "v": v.float()}


def batch(size: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    parameters = torch.rand(size, 2, generator=generator, dtype=torch.float64)
    steps = torch.randint(0, NUM_STEPS, (size,), generator=generator)
    return Batch(
        simulations=torch.arange(size),
        steps=steps,
        times=steps.double(),
        parameters=parameters,
        fields=solution(parameters, steps),
    )


def turns(num: int, *, size: int = 8, **changes: Any) -> Iterator[Turn]:
    for index in range(num):
        given = {
            "batch": batch(size, index),
            "num_samples_global": size,
            "progress": index / num,
            "validate": False,
            "statistics": STATISTICS if index == 0 else None,
        }
        yield Turn(**(given | changes))


def surrogate(hidden: tuple[int, ...] = (16,)) -> Surrogate:
    torch.manual_seed(1)
    bounds = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    return build_surrogate(
        layout=LAYOUT, parameter_bounds=bounds, num_steps=NUM_STEPS, model=partial(MLP, hidden=hidden)
    )


def sgd(parameters: Iterator[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def trained(
    built: Surrogate,
    given: Iterable[Turn],
    *,
    held_out: ValidationSet | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_validation: Callable[[ValidationReport], None] = lambda report: None,
    **recipe: Any,
) -> TrainingSummary:
    """Train with our loop, as a server rank does."""
    stream = TrainingStream(
        given,
        surrogate=built,
        held_out=held_out,
        recipe=TrainingRecipe(**recipe),
        on_step=on_step,
        on_validation=on_validation,
    )
    assert run_loop(train, stream) is built
    return stream.summary()


def held_out(num_simulations: int = 2) -> ValidationSet:
    validation = ValidationSet(LAYOUT, chunk_size=3)
    for simulation in range(num_simulations):
        parameters = torch.tensor([[0.3 + 0.1 * simulation, 0.6]], dtype=torch.float64)
        for step in reversed(range(NUM_STEPS)):
            values = [field[0].numpy() for field in solution(parameters, torch.tensor([step])).values()]
            key = SampleKey(100 + simulation, step)
            sample = assembled(validation, key, values, time=step / 10, parameters=parameters[0].tolist())
            assert validation.take(sample, 0.0) == (key,)
    return validation


def test_the_loss_decreases_and_the_fields_are_learned() -> None:
    built, validation, steps, validations = (
        surrogate((64, 64)),
        held_out(),
        list[StepReport](),
        list[ValidationReport](),
    )
    summary = trained(
        built,
        turns(400, size=32),
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        learning_rate=on_samples(Cosine()),
        held_out=validation,
        on_step=steps.append,
        on_validation=validations.append,
    )
    assert summary.batches == 400
    assert summary.samples == 400 * 32
    assert summary.final_training_loss == steps[-1].loss < 0.05 * steps[0].loss
    assert [report.batch_index for report in steps] == list(range(20, 401, 20))
    assert steps[-1].num_samples == summary.samples
    assert [report.batches for report in validations] == [400]
    assert validations[0].relative_l2 < 0.1
    simulation = validation.one_simulation()
    assert simulation is not None
    predicted = built.predict(simulation.parameters, step=simulation.steps[5])["u"]
    assert np.abs(predicted - simulation.fields["u"][5]).max() < 0.2


def test_a_step_is_the_mean_gradient_in_normalized_units() -> None:
    built = surrogate()
    reference = surrogate()
    scale = reference.normalization
    scale.freeze(STATISTICS)
    given = batch(8, 0)
    made = reference.network(parameters=2 * given.parameters.float() - 1, time=given.steps / 4.5 - 1)
    truth = {"u": (given.fields["u"] - 1.0) / 2.0, "v": given.fields["v"] / 0.5}
    # All elements count alike, six of u and four of v.
    loss = torch.cat([(made[name] - truth[name].unsqueeze(1)).flatten(1) for name in truth], dim=1).square().mean()
    loss.backward()
    summary = trained(built, turns(1), optimizer=sgd)
    assert summary.final_training_loss == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(built.network.parameters(), reference.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad)


def test_a_turn_without_samples_changes_nothing_but_the_count() -> None:
    built = surrogate()
    before = {name: values.clone() for name, values in built.network.state_dict().items()}
    summary = trained(built, turns(3, batch=None, num_samples_global=5), optimizer=sgd)
    torch.testing.assert_close(built.network.state_dict(), before)
    assert (summary.batches, summary.samples, summary.final_training_loss) == (3, 0, None)


def test_without_turns_there_is_an_empty_summary() -> None:
    summary = trained(surrogate(), [])
    assert (summary.batches, summary.samples_per_second, summary.input_wait_fraction) == (0, 0.0, 0.0)


@pytest.mark.parametrize("optimization", [Optimization(precision="bf16"), Optimization(gradient_clip=0.5)])
def test_other_ways_to_compute_learn_too(optimization: Optimization) -> None:
    steps: list[StepReport] = []
    trained(
        surrogate(),
        turns(100),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        optimization=optimization,
        on_step=steps.append,
    )
    assert steps[-1].loss < 0.5 * steps[0].loss


def test_the_gradient_is_clipped() -> None:
    built, before = surrogate(), surrogate()
    trained(built, turns(1), optimizer=sgd, optimization=Optimization(gradient_clip=1e-3))
    moved = [a - b for a, b in zip(built.network.parameters(), before.network.parameters(), strict=True)]
    length = torch.linalg.vector_norm(torch.cat([values.flatten() for values in moved]))
    assert length.item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'fp8'.*float32, bf16"):
        Optimization(precision="fp8")
    with pytest.raises(ValueError, match="above 0"):
        Optimization(gradient_clip=0.0)


def test_fields_without_bounds_need_statistics_in_the_first_turn() -> None:
    with pytest.raises(ValueError, match=r"solver.fields.u.bounds, or let the loader compute statistics"):
        trained(surrogate(), turns(1, statistics=None))


def test_what_the_turns_raise_is_raised() -> None:
    def broken() -> Iterator[Turn]:
        yield from turns(1)
        raise ConnectionError("the stream broke")

    with pytest.raises(ConnectionError, match="the stream broke"):
        trained(surrogate(), broken())


def test_the_learning_rate_follows_the_samples_delivered() -> None:
    steps: list[StepReport] = []
    trained(
        surrogate(),
        turns(4),
        optimizer=sgd,
        learning_rate=on_samples(Linear(floor=0.0)),
        on_step=steps.append,
        report_interval=1,
    )
    assert [report.learning_rate for report in steps] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_scheduler_that_ends_early_keeps_its_last_rate() -> None:
    steps: list[StepReport] = []
    trained(
        surrogate(),
        turns(9),
        optimizer=sgd,
        learning_rate=by_scheduler(partial(OneCycleLR, max_lr=1.0, total_steps=5)),
        on_step=steps.append,
        report_interval=1,
    )
    rates = [report.learning_rate for report in steps]
    assert max(rates) > 0.9
    assert rates[4:] == [min(rates)] * 5


@pytest.mark.parametrize(
    "learning_rate",
    [on_batches(Cosine(), max_batches=40), by_scheduler(partial(StepLR, step_size=3, gamma=0.5))],
)
def test_a_restored_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, learning_rate: Any) -> None:
    given = list(turns(12))
    recipe = TrainingRecipe(
        optimizer=partial(torch.optim.Adam, lr=1e-2), learning_rate=learning_rate, report_interval=1
    )
    straight_steps, resumed_steps = list[StepReport](), list[StepReport]()
    straight = surrogate()
    run_loop(train, TrainingStream(given, surrogate=straight, recipe=recipe, on_step=straight_steps.append))
    first = TrainingStream(given[:7], surrogate=surrogate(), recipe=recipe)
    run_loop(train, first)
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = surrogate()
    second = TrainingStream(
        given[7:],
        surrogate=resumed,
        recipe=recipe,
        on_step=resumed_steps.append,
        restored=torch.load(tmp_path / "state", weights_only=True),
    )
    with warnings.catch_warnings(action="error"):
        run_loop(train, second)
    assert (second.summary().batches, second.summary().samples) == (12, 96)
    assert resumed_steps == straight_steps[7:]
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_waiting_for_the_first_turn_is_told_apart_from_waiting_later() -> None:
    gate = threading.Event()

    def slow() -> Iterator[Turn]:
        for index, turn in enumerate(turns(3)):
            assert not gate.wait(0.05 if index == 0 else 0.02)
            yield turn

    summary = trained(surrogate(), slow())
    assert summary.startup_seconds >= 0.05
    assert 0.04 / summary.seconds <= summary.input_wait_fraction <= 1
    assert summary.samples_per_second == pytest.approx(24 / summary.seconds)


def test_losses_per_sample() -> None:
    prediction, target = torch.tensor([[[1.0, 3.0]], [[0.0, 4.0]]]), torch.tensor([[[1.0, 1.0]], [[3.0, 4.0]]])
    torch.testing.assert_close(mse(prediction, target, per_sample_mean), torch.tensor([2.0, 4.5]))
    torch.testing.assert_close(l1(prediction, target, per_sample_mean), torch.tensor([1.0, 1.5]))
    torch.testing.assert_close(relative_l2(prediction, target, per_sample_mean), torch.tensor([2**0.5, 0.6]))
    nothing = torch.zeros(2, 1, 2)
    assert torch.isfinite(relative_l2(prediction, nothing, per_sample_mean)).all()
    exact = target.clone().requires_grad_()
    relative_l2(exact, target, per_sample_mean).sum().backward()
    assert exact.grad is not None
    assert torch.isfinite(exact.grad).all()


def whole(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    return functional.mse_loss(prediction, target)


def elements(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    return functional.mse_loss(prediction, target, reduction="none")


def number(prediction: torch.Tensor, target: torch.Tensor, per_sample: PerSample) -> torch.Tensor:
    return 1.0  # type: ignore[return-value]


def test_a_loss_that_is_not_per_sample_is_told() -> None:
    with pytest.raises(ValueError, match=r"whole returned the shape \(\).*expected \(8,\)"):
        trained(surrogate(), turns(1), loss=whole)
    with pytest.raises(ValueError, match=r"elements returned the shape \(8, 1, 2, 3\).*return per_sample"):
        trained(surrogate(), turns(1), loss=partial(elements))
    with pytest.raises(TypeError, match="number returned a float"):
        trained(surrogate(), turns(1), loss=number)


def test_fields_count_by_their_size_or_by_their_weights() -> None:
    problem = Problem(targets={"u": FieldShape(2, (3,)), "v": FieldShape(1, (2,))})
    predictions = {"u": torch.full((4, 2, 3), 2.0), "v": torch.full((4, 1, 2), 10.0)}
    targets = {name: torch.zeros_like(values) for name, values in predictions.items()}
    by_size = FieldLosses(l1, problem)(predictions, targets)
    torch.testing.assert_close(by_size, torch.full((4,), (6 * 2.0 + 2 * 10.0) / 8))
    weighed = FieldLosses(l1, problem, {"u": 3.0, "v": 1.0})(predictions, targets)
    torch.testing.assert_close(weighed, torch.full((4,), (3 * 2.0 + 10.0) / 4))
    for weights in ({"u": 1.0}, {"u": 1.0, "v": 1.0, "w": 1.0}, {"u": -1.0, "v": 2.0}, {"u": 1.0, "v": 0.0}):
        with pytest.raises(ValueError, match=r"field_weights .*target fields are u, v"):
            FieldLosses(l1, problem, weights)


def test_a_batch_norm_takes_its_running_statistics_for_a_single_value_per_channel() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    let_single_values_pass(network)
    let_single_values_pass(network)
    network(torch.randn(8, 3))
    before = {name: values.clone() for name, values in network.state_dict().items()}
    one = torch.randn(1, 3)
    made = network(one)
    made.sum().backward()
    assert all(layer.training for layer in network.modules())
    torch.testing.assert_close(network.state_dict(), before)
    torch.testing.assert_close(made, network.eval()(one))
    assert network[0].weight.grad.abs().sum() > 0
    network.train()(torch.randn(2, 3))
    assert not torch.equal(network[1].running_mean, before["1.running_mean"])
