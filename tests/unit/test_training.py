"""The trainer: what a step computes, what is reported, and that it learns."""

import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from melissa_like.loading import Batch, Moments, Turn
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.training import (
    Cosine,
    Linear,
    Optimization,
    StepReport,
    Surrogate,
    Trainer,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    by_scheduler,
    join_ranks,
    l1,
    mse,
    on_batches,
    on_samples,
    relative_l2,
)
from melissa_like.training.losses import per_sample
from tests.contract.consumers import assembled

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(2, 3)), FieldSpec(name="v", shape=(4,))), parameters=("a", "b"))
STATISTICS = {"u": Moments(count=9, mean=1.0, std=2.0), "v": Moments(count=9, mean=0.0, std=0.5)}
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
    trainer = Trainer(
        built,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        learning_rate=on_samples(Cosine()),
        validation=validation,
        on_step=steps.append,
        on_validation=validations.append,
    )
    summary = trainer.train(turns(400, size=32))
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
    reference.output_normalization.freeze(STATISTICS)
    given = batch(8, 0)
    inputs, targets = reference.examples(given)
    loss = mse(reference.normalized(inputs), reference.output_normalization(targets)).mean()
    loss.backward()
    summary = Trainer(built, optimizer=sgd).train(turns(1))
    assert summary.final_training_loss == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(built.network.parameters(), reference.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad)


def test_a_turn_without_samples_changes_nothing_but_the_count() -> None:
    built = surrogate()
    before = {name: values.clone() for name, values in built.network.state_dict().items()}
    summary = Trainer(built, optimizer=sgd).train(turns(3, batch=None, num_samples_global=5))
    torch.testing.assert_close(built.network.state_dict(), before)
    assert (summary.batches, summary.samples, summary.final_training_loss) == (3, 0, None)


def test_without_turns_there_is_an_empty_summary() -> None:
    summary = Trainer(surrogate()).train([])
    assert (summary.batches, summary.samples_per_second, summary.input_wait_fraction) == (0, 0.0, 0.0)


@pytest.mark.parametrize("optimization", [Optimization(precision="bf16"), Optimization(gradient_clip=0.5)])
def test_other_ways_to_compute_learn_too(optimization: Optimization) -> None:
    steps: list[StepReport] = []
    trainer = Trainer(
        surrogate(),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        optimization=optimization,
        on_step=steps.append,
    )
    trainer.train(turns(100))
    assert steps[-1].loss < 0.5 * steps[0].loss


def test_the_gradient_is_clipped() -> None:
    built, before = surrogate(), surrogate()
    Trainer(built, optimizer=sgd, optimization=Optimization(gradient_clip=1e-3)).train(turns(1))
    moved = [a - b for a, b in zip(built.network.parameters(), before.network.parameters(), strict=True)]
    length = torch.linalg.vector_norm(torch.cat([values.flatten() for values in moved]))
    assert length.item() == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'fp8'.*float32, bf16"):
        Optimization(precision="fp8")
    with pytest.raises(ValueError, match="above 0"):
        Optimization(gradient_clip=0.0)


def test_fields_without_bounds_need_statistics_in_the_first_turn() -> None:
    with pytest.raises(ValueError, match="num_statistics_samples"):
        Trainer(surrogate()).train(turns(1, statistics=None))


def test_what_the_turns_raise_is_raised() -> None:
    def broken() -> Iterator[Turn]:
        yield from turns(1)
        raise ConnectionError("the stream broke")

    with pytest.raises(ConnectionError, match="the stream broke"):
        Trainer(surrogate()).train(broken())


def test_the_learning_rate_follows_the_samples_delivered() -> None:
    steps: list[StepReport] = []
    trainer = Trainer(
        surrogate(),
        optimizer=sgd,
        learning_rate=on_samples(Linear(floor=0.0)),
        on_step=steps.append,
        report_interval=1,
    )
    trainer.train(turns(4))
    assert [report.learning_rate for report in steps] == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize(
    "learning_rate",
    [on_batches(Cosine(), max_batches=40), by_scheduler(partial(StepLR, step_size=3, gamma=0.5))],
)
def test_a_restored_trainer_goes_on_as_if_it_had_not_stopped(tmp_path: Path, learning_rate: Any) -> None:
    given = list(turns(12))
    adam = partial(torch.optim.Adam, lr=1e-2)
    straight_steps, resumed_steps = list[StepReport](), list[StepReport]()
    straight = surrogate()
    Trainer(
        straight, optimizer=adam, learning_rate=learning_rate, on_step=straight_steps.append, report_interval=1
    ).train(given)
    first = Trainer(surrogate(), optimizer=adam, learning_rate=learning_rate)
    first.train(given[:7])
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = surrogate()
    second = Trainer(
        resumed, optimizer=adam, learning_rate=learning_rate, on_step=resumed_steps.append, report_interval=1
    )
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    with warnings.catch_warnings(action="error"):
        summary = second.train(given[7:])
    assert (summary.batches, summary.samples) == (12, 96)
    assert resumed_steps == straight_steps[7:]
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_waiting_for_the_first_turn_is_told_apart_from_waiting_later() -> None:
    gate = threading.Event()

    def slow() -> Iterator[Turn]:
        for index, turn in enumerate(turns(3)):
            assert not gate.wait(0.05 if index == 0 else 0.02)
            yield turn

    summary = Trainer(surrogate()).train(slow())
    assert summary.startup_seconds >= 0.05
    assert 0.04 / summary.seconds <= summary.input_wait_fraction <= 1
    assert summary.samples_per_second == pytest.approx(24 / summary.seconds)


def test_losses_per_sample() -> None:
    predictions, targets = torch.tensor([[1.0, 3.0], [0.0, 4.0]]), torch.tensor([[1.0, 1.0], [3.0, 4.0]])
    torch.testing.assert_close(mse(predictions, targets), torch.tensor([2.0, 4.5]))
    torch.testing.assert_close(l1(predictions, targets), torch.tensor([1.0, 1.5]))
    torch.testing.assert_close(relative_l2(predictions, targets), torch.tensor([2**0.5, 0.6]))
    assert torch.isfinite(relative_l2(predictions, torch.zeros(2, 2))).all()


def test_a_loss_that_is_not_per_sample_is_told() -> None:
    with pytest.raises(ValueError, match=r"mse_loss returned the shape \(\).*expected \(8,\)"):
        Trainer(surrogate(), loss=torch.nn.functional.mse_loss).train(turns(1))
    with pytest.raises(ValueError, match=r"shape \(8, 10\)"):
        Trainer(surrogate(), loss=partial(torch.nn.functional.mse_loss, reduction="none")).train(turns(1))
    with pytest.raises(TypeError, match="returned a float"):
        per_sample(lambda predictions, targets: 1.0, torch.zeros(2, 2), torch.zeros(2, 2))  # type: ignore[arg-type,return-value]


def test_one_rank_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_ranks(torch.device("cpu")) as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert not torch.distributed.is_initialized()
        np.testing.assert_array_equal(ranks.training.all_gather(np.array([1.0, 2.0])), [[1.0, 2.0]])


def test_incomplete_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ValueError, match="MASTER_ADDR, MASTER_PORT are not set"), join_ranks(torch.device("cpu")):
        pass
