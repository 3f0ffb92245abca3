"""Held-out windows: which are complete, the errors of one step and of roll-outs against numpy, over any ranks."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from melissa_like.assembly import WindowTally
from melissa_like.loading import Collective, Moments, SoloCollective, ThreadCollective
from melissa_like.models import Problem
from melissa_like.records import FieldSpec, Layout, SampleKey, Window
from melissa_like.training import (
    Autoregressive,
    FieldLosses,
    Operator,
    Surrogate,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    mse,
)
from melissa_like.training.validation.rollouts import correlations_of, report_of
from melissa_like.training.validation.spread import spread_of
from tests.contract.consumers import assembled

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(5,)), FieldSpec(name="v", shape=(2, 3), components=2)), parameters=("a",)
)
LENGTH = 9


class Turning(nn.Module):
    """Each value moves to its neighbour and shrinks by a factor; the solver's shrink by another."""

    def __init__(self, problem: Problem, factor: float) -> None:
        super().__init__()
        self.targets = problem.targets
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, *, fields: dict[str, Tensor], parameters: Tensor) -> dict[str, Tensor]:
        made = {}
        for name, shape in self.targets.items():
            last = fields[name][:, -(shape.components // shape.steps) :]
            ahead = [self.factor**k * torch.roll(last, k, dims=-1) for k in range(1, shape.steps + 1)]
            made[name] = torch.cat(ahead, dim=1)
        return made


def turned(simulation: int, step: int) -> list[np.ndarray]:
    generator = np.random.default_rng(simulation)
    return [
        (np.roll(generator.normal(size=spec.shape), step, axis=-1) * 0.9**step).astype(spec.dtype)
        for spec in LAYOUT.fields
    ]


def surrogate(factor: float = 0.8, **options: object) -> Surrogate:
    task = partial(Autoregressive, residual=False, **options)
    built = build_surrogate(
        layout=LAYOUT, model=partial(Turning, factor=factor), task=task, parameter_bounds={"a": (0.0, 1.0)}, num_steps=9
    )
    one = Moments(count=1, mean=0.0, std=1.0)
    built.normalization.freeze({"u": (one,), "v": (one, one)})
    return built


def fill(
    held_out: ValidationSet,
    window: Window,
    simulation: int,
    steps: Sequence[int] = range(LENGTH),
    *,
    attempt: int = 1,
    tally: WindowTally | None = None,
    fields: object = turned,
) -> tuple[WindowTally, list[SampleKey]]:
    """Steps as the assembler hands them on."""
    tally = WindowTally(window, num_steps=LENGTH) if tally is None else tally
    delivered = []
    for step in steps:
        sample = assembled(
            held_out,
            SampleKey(simulation, step),
            fields(simulation, step),
            attempt=attempt,
            time=0.5 * step,
            parameters=[0.1 * simulation],
            windows=tally.add(step),
        )
        delivered += held_out.take(sample, 0.0)
    return tally, delivered


def again(tally: WindowTally, window: Window) -> WindowTally:
    """That of another attempt, which has to form the windows that are not there."""
    return WindowTally(window, num_steps=LENGTH, formed=tally.formed)


def evaluated(
    held_out: ValidationSet, built: Surrogate, collective: Collective | None = None
) -> ValidationReport | None:
    losses = FieldLosses(mse, built.task.problem)
    return held_out.evaluate(built, losses, collective or SoloCollective(), batches=3)


def errors(simulation: int, first: int, step: int, factor: float = 0.8) -> list[float]:
    """Relative errors of a step that is predicted from an earlier one of the solver's."""
    starts, truth = turned(simulation, first), turned(simulation, step)
    made = [factor ** (step - first) * np.roll(values, step - first, axis=-1) for values in starts]
    return [float(np.linalg.norm(m - t) / np.linalg.norm(t)) for m, t in zip(made, truth, strict=True)]


def changes(simulation: int, first: int, step: int) -> list[float]:
    """Relative errors of a step if the fields stayed as they were at an earlier one."""
    pairs = zip(turned(simulation, first), turned(simulation, step), strict=True)
    return [float(np.linalg.norm(before - truth) / np.linalg.norm(truth)) for before, truth in pairs]


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("bundle", [1, 2])
def test_errors_of_one_call_and_of_roll_outs_are_what_numpy_says(bundle: int, chunk_size: int) -> None:
    built = surrogate(bundle=bundle, horizon=2)
    window, chunks = built.task.window, list[None]()
    held_out = ValidationSet(LAYOUT, window=window, chunk_size=chunk_size, on_chunk=lambda: chunks.append(None))
    for simulation in (4, 7):
        _, delivered = fill(held_out, window, simulation)
        assert delivered == [SampleKey(simulation, first) for first in range(0, LENGTH - 1, 2 * bundle)]
    report = evaluated(held_out, built)
    assert report is not None
    assert report.num_samples == held_out.num_samples == 2 * 8 // (2 * bundle)
    steps = range(1, LENGTH)
    of_one_call = [e for s in (4, 7) for step in steps for e in errors(s, (step - 1) // bundle * bundle, step)]
    assert report.relative_l2 == pytest.approx(np.mean(of_one_call), rel=1e-4)
    assert report.relative_l2_max == pytest.approx(max(of_one_call), rel=1e-4)
    rollout = report.rollout
    assert rollout is not None
    assert (rollout.num_simulations, rollout.num_steps, rollout.num_fields) == (2, 8, 4)
    for step, spread in zip(steps, rollout.by_step, strict=True):
        each = [e for s in (4, 7) for e in errors(s, 0, step)]
        assert (spread.mean, spread.max) == (pytest.approx(np.mean(each), rel=1e-4), pytest.approx(max(each), rel=1e-4))
    assert rollout.relative_l2.mean == pytest.approx(np.mean([spread.mean for spread in rollout.by_step]), rel=1e-4)
    staying = [e for s in (4, 7) for step in steps for e in changes(s, (step - 1) // bundle * bundle, step)]
    assert rollout.persistence == pytest.approx(np.mean(staying), rel=1e-4)
    # A factor does not change a correlation: it stays 1 to the end.
    assert (rollout.correlation_time, rollout.num_correlated) == (8.0, 4)
    assert len(chunks) > 2 + (chunk_size == 1)
    assert built.training


def test_ranks_say_the_same_as_one_and_an_empty_one_takes_part() -> None:
    built = surrogate(horizon=4)
    window = built.task.window
    whole, parts = ValidationSet(LAYOUT, window=window), [ValidationSet(LAYOUT, window=window) for _ in range(3)]
    for simulation in (0, 1, 3):
        fill(whole, window, simulation)
        fill(parts[simulation % 2], window, simulation)
    expected = evaluated(whole, built)
    with ThreadPoolExecutor(3) as pool:
        copies = [surrogate(horizon=4) for _ in parts]
        reports = [*pool.map(evaluated, parts, copies, ThreadCollective.ranks(3), timeout=20)]
    assert reports == [expected] * 3


def test_a_roll_out_that_is_not_finite_has_an_infinite_error() -> None:
    built = surrogate(factor=1e12)
    held_out = ValidationSet(LAYOUT, window=built.task.window)
    fill(held_out, built.task.window, 2)
    report = evaluated(held_out, built)
    assert report is not None
    assert report.rollout is not None
    assert math.isfinite(report.relative_l2)
    assert math.isfinite(report.rollout.by_step[0].mean)
    assert report.rollout.by_step[-1].mean == report.rollout.relative_l2.max == math.inf


def test_a_field_that_is_given_only_is_given_at_every_step_and_not_counted() -> None:
    built = surrogate(inputs=["v"], horizon=2)
    held_out = ValidationSet(LAYOUT, window=built.task.window)
    for simulation in (1, 2):
        fill(held_out, built.task.window, simulation)
    report = evaluated(held_out, built)
    assert report is not None
    assert report.rollout is not None
    assert (report.rollout.num_fields, report.rollout.num_steps) == (2, 8)
    each = [errors(simulation, 0, 5)[0] for simulation in (1, 2)]
    assert report.rollout.by_step[4].mean == pytest.approx(np.mean(each), rel=1e-4)


def test_a_constant_field_has_no_correlation_and_a_lost_one_none_left() -> None:
    truth = torch.rand(1, 4, 50)
    truth[0, 1] = 0.1
    made = truth.clone()
    made[0, 2], made[0, 3] = torch.inf, 7.0
    found = correlations_of(made, truth)[0]
    assert found[0] == pytest.approx(1.0)
    assert found[1].isnan()
    assert found[2:].tolist() == [-1.0, -1.0]


def test_windows_keep_the_steps_that_they_were_made_of() -> None:
    window = Window(length=3, hop=2)
    held_out = ValidationSet(LAYOUT, window=window)
    tally, delivered = fill(held_out, window, 5, range(4))
    assert delivered == [SampleKey(5, 0)]

    def other(simulation: int, step: int) -> list[np.ndarray]:
        return [values + 10 for values in turned(simulation, step)]

    tally = again(tally, window)
    needed = [step for step in range(LENGTH) if step not in tally.settled_steps()]
    assert needed == [2, 3, 4, 5, 6, 7, 8]
    _, delivered = fill(held_out, window, 5, needed, attempt=2, tally=tally, fields=other)
    assert delivered == [SampleKey(5, first) for first in (2, 4, 6)]
    one = held_out.one_simulation()
    assert one is not None
    # The first attempt's window, and no step of the second behind it: they are two solutions.
    assert one.steps == (0, 1, 2)
    np.testing.assert_array_equal(one.fields["u"][2], turned(5, 2)[0])


def test_equal_steps_of_two_attempts_are_one_simulation_and_one_memory() -> None:
    window = Window(length=3, hop=2)
    held_out = ValidationSet(LAYOUT, window=window)
    tally, _ = fill(held_out, window, 5, range(4))
    fill(held_out, window, 5, range(2, LENGTH), attempt=2, tally=again(tally, window))
    one = held_out.one_simulation()
    assert one is not None
    assert one.steps == tuple(range(LENGTH))


@pytest.mark.parametrize(("mixes", "num_steps"), [(False, 3), (True, 9)])
def test_windows_apart_are_joined_over_attempts_only_where_attempts_are_alike(mixes: bool, num_steps: int) -> None:
    window = Window(length=3, hop=3)
    held_out = ValidationSet(LAYOUT, window=window, mixes=mixes)
    tally, _ = fill(held_out, window, 5, range(3))
    fill(held_out, window, 5, range(3, LENGTH), attempt=2, tally=again(tally, window))
    one = held_out.one_simulation()
    assert one is not None
    assert len(one.steps) == num_steps


@pytest.mark.parametrize("window", [Window(length=3, hop=3), Window(length=2, stride=2, hop=4)])
@pytest.mark.parametrize("attempts", [(1, 1), (1, 2), (2, 2)])
def test_windows_apart_are_joined_after_a_restart_as_before(window: Window, attempts: tuple[int, int]) -> None:
    held_out, restored = [ValidationSet(LAYOUT, window=window) for _ in range(2)]
    first, second = attempts
    tally, _ = fill(held_out, window, 5, range(window.hop), attempt=first)
    if second > first:
        tally = again(tally, window)
    fill(held_out, window, 5, range(window.hop, LENGTH), attempt=second, tally=tally)
    kept = held_out.kept()
    for number, piece in enumerate(kept.pieces(1)):
        restored.restore(piece, kept.attempts[number:])
    before, after = held_out.one_simulation(), restored.one_simulation()
    assert before is not None
    assert after is not None
    assert after.steps == before.steps
    assert (len(after.steps) > window.length) == (first == second)


def test_the_correlation_time_is_that_of_the_first_step_below() -> None:
    rows = []
    for simulation, correlations in ((0, [1.0, 0.9, 0.7, 0.9]), (1, [0.9, 0.9]), (2, [math.nan, 0.1])):
        rows += [[simulation, step + 1, 0.5, each, 0.25] for step, each in enumerate(correlations)]
    report = report_of(np.array(rows))
    assert report is not None
    assert (report.num_simulations, report.num_steps, report.num_fields) == (3, 4, 3)
    # Below at 3, never in 2 steps, below at 2.
    assert (report.correlation_time, report.correlation_time_median) == (pytest.approx(7 / 3), 2.0)
    assert (report.correlation_time_min, report.num_correlated) == (2.0, 1)
    assert report.persistence == 0.25
    assert report_of(np.zeros((0, 5))) is None


def test_a_spread_counts_what_is_infinite_and_leaves_out_what_is_not_known() -> None:
    spread = spread_of(np.array([[1.0, math.nan], [math.inf, 3.0]]))
    assert (spread.mean, spread.median, spread.p99, spread.max) == (math.inf, 3.0, math.inf, math.inf)
    values = np.arange(1.0, 201.0)
    assert spread_of(values).p99 == 199.0
    assert math.isnan(spread_of(np.zeros(0)).mean)


def test_an_operator_is_rolled_out_as_far_as_it_has_learned() -> None:
    class FromFirst(nn.Module):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, *, fields: dict[str, Tensor], parameters: Tensor, time: Tensor) -> dict[str, Tensor]:
            return {name: self.weight * values for name, values in fields.items()}

    task = Operator(LAYOUT, initial=["u", "v"], window={"length": 4})
    built = Surrogate(task, FromFirst(task.problem), surrogate().normalization, layout=LAYOUT, recipes={})
    held_out = ValidationSet(LAYOUT, window=task.window)
    fill(held_out, task.window, 3)
    report = evaluated(held_out, built)
    assert report is not None
    assert report.rollout is not None
    assert report.rollout.num_steps == 3
    start, later = turned(3, 0), turned(3, 2)
    expected = [np.linalg.norm(s - t) / np.linalg.norm(t) for s, t in zip(start, later, strict=True)]
    assert report.rollout.by_step[1].mean == pytest.approx(np.mean(expected), rel=1e-5)
    assert report.rollout.persistence == pytest.approx(report.rollout.relative_l2.mean, rel=1e-6)


@pytest.mark.parametrize("most_nbytes", [1, 10_000])
def test_windows_of_a_checkpoint_share_their_steps_again(most_nbytes: int) -> None:
    window = Window(length=4, hop=1)
    first, second = (ValidationSet(LAYOUT, window=window) for _ in range(2))
    for simulation in (3, 4):
        fill(first, window, simulation)
    kept = first.kept()
    for piece in kept.pieces(most_nbytes):
        second.restore(piece, kept.attempts, owned=lambda key: key.simulation == 3)
    assert second.num_samples == 6
    mine, theirs = first.one_simulation(), second.one_simulation()
    assert mine is not None
    assert theirs is not None
    assert mine.steps == theirs.steps == tuple(range(LENGTH))
    assert mine.times == theirs.times
    np.testing.assert_array_equal(mine.fields["v"], theirs.fields["v"])
    report = evaluated(second, surrogate(horizon=3))
    assert report is not None
    assert report.rollout is not None
    assert report.rollout.num_steps == 8
