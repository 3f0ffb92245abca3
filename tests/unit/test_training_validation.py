"""Held-out samples: kept, evaluated against numpy, reduced over ranks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from melissa_like.buffer.ragged_memory import RaggedForm
from melissa_like.buffer.ragged_rows import RowsToRead
from melissa_like.loading import Moments, SoloCollective, ThreadCollective
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, FormedWindows, Layout, Purpose, Sample, SampleKey, Window
from melissa_like.training import FieldLosses, Surrogate, ValidationSet, build_surrogate, l1, mse
from tests.contract.consumers import assembled
from tests.unit import ragged

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(2, 3)), FieldSpec(name="p", shape=(4,), dtype="float64")), parameters=("a",)
)


@pytest.fixture
def surrogate() -> Surrogate:
    torch.manual_seed(0)
    built = build_surrogate(layout=LAYOUT, parameter_bounds={"a": (0.0, 1.0)}, num_steps=5, model=MLP)
    built.normalization.freeze(
        {"u": (Moments(count=1, mean=2.0, std=3.0),), "p": (Moments(count=1, mean=100.0, std=10.0),)}
    )
    return built


@pytest.fixture
def losses(surrogate: Surrogate) -> FieldLosses:
    return FieldLosses(mse, surrogate.task.problem)


def add(validation: ValidationSet, simulation: int, step: int, *, scale: float = 1.0) -> list[np.ndarray]:
    generator = np.random.default_rng([simulation, step])
    sizes = zip(LAYOUT.fields, (1.0, 100.0), strict=True)
    copies = [(generator.normal(size=field.shape) * size * scale).astype(field.dtype) for field, size in sizes]
    key = SampleKey(simulation, step)
    sample = assembled(validation, key, copies, time=step / 3, parameters=[0.1 * simulation])
    assert validation.take(sample, 0.0) == (key,)
    return copies


def errors(surrogate: Surrogate, truth: dict[tuple[int, int], list[np.ndarray]]) -> tuple[float, tuple[float, float]]:
    """Loss and relative L2 of both fields from single predictions, by their definitions."""
    losses, ratios = [], []
    for (simulation, step), fields in truth.items():
        predicted = list(surrogate.predict({"a": 0.1 * simulation}, step=step).values())
        flat = np.concatenate([(p - t).ravel() for p, t in zip(predicted, fields, strict=True)])
        losses.append(np.mean(flat**2))
        ratios.append([np.linalg.norm(p - t) / np.linalg.norm(t) for p, t in zip(predicted, fields, strict=True)])
    of_u, of_p = np.mean(ratios, axis=0)
    return float(np.mean(losses)), (float(of_u), float(of_p))


@pytest.mark.parametrize("chunk_size", [1, 4, 100])
def test_an_evaluation_is_what_numpy_says(surrogate: Surrogate, losses: FieldLosses, chunk_size: int) -> None:
    validation = ValidationSet(LAYOUT, chunk_size=chunk_size)
    truth = {(s, t): add(validation, s, t) for s in (8, 9) for t in range(5)}
    report = validation.evaluate(surrogate, losses, SoloCollective(), batches=7)
    assert report is not None
    assert (report.batches, report.num_samples, validation.num_samples) == (7, 10, 10)
    loss, ratios = errors(surrogate, truth)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    assert report.relative_l2 == pytest.approx(np.mean(ratios), rel=1e-5)
    assert report.relative_l2_by_field == pytest.approx(dict(zip("up", ratios, strict=True)), rel=1e-5)
    assert surrogate.training


def test_the_loss_of_the_report_is_the_one_configured(surrogate: Surrogate) -> None:
    validation = ValidationSet(LAYOUT)
    fields = add(validation, 3, 2)
    report = validation.evaluate(surrogate, FieldLosses(l1, surrogate.task.problem), SoloCollective(), batches=0)
    predicted = surrogate.predict({"a": 0.1 * 3}, step=2).values()
    flat = np.concatenate([(p - t).ravel() for p, t in zip(predicted, fields, strict=True)])
    assert report is not None
    assert report.loss == pytest.approx(np.abs(flat).mean(), rel=1e-5)


def test_a_field_of_zeros_has_no_relative_error(surrogate: Surrogate, losses: FieldLosses) -> None:
    validation = ValidationSet(LAYOUT)
    truth = {(1, 1): add(validation, 1, 1)}
    expected = validation.evaluate(surrogate, losses, SoloCollective(), batches=0)
    add(validation, 1, 2, scale=0.0)
    report = validation.evaluate(surrogate, losses, SoloCollective(), batches=0)
    assert report is not None
    assert expected is not None
    assert report.num_samples == 2
    assert report.relative_l2 == pytest.approx(np.mean(errors(surrogate, truth)[1]), rel=1e-5)


def test_ranks_are_reduced_and_an_empty_one_takes_part(surrogate: Surrogate, losses: FieldLosses) -> None:
    whole, parts = ValidationSet(LAYOUT), [ValidationSet(LAYOUT) for _ in range(3)]
    for step in range(5):
        add(whole, 4, step)
        add(parts[step % 2], 4, step)
    expected = whole.evaluate(surrogate, losses, SoloCollective(), batches=3)
    assert expected is not None
    # One surrogate per rank: evaluation switches the mode of a module for a while.
    copies = [surrogate]
    for _ in parts[1:]:
        copy = build_surrogate(layout=LAYOUT, parameter_bounds={"a": (0.0, 1.0)}, num_steps=5, model=MLP)
        copy.load_state_dict(surrogate.state_dict())
        copies.append(copy)
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(part.evaluate, copy, FieldLosses(mse, copy.task.problem), collective, batches=3)
            for part, copy, collective in zip(parts, copies, ThreadCollective.ranks(3), strict=True)
        ]
        reports = [job.result(timeout=20) for job in jobs]
    for report in reports:
        assert report is not None
        assert report.loss == pytest.approx(expected.loss, rel=1e-6)
        assert report.relative_l2 == pytest.approx(expected.relative_l2, rel=1e-6)
        assert report.num_samples == 5


def test_without_samples_on_any_rank_there_is_no_report(surrogate: Surrogate, losses: FieldLosses) -> None:
    assert ValidationSet(LAYOUT).evaluate(surrogate, losses, SoloCollective(), batches=0) is None


def test_a_sample_that_stays_incomplete_is_not_held() -> None:
    validation = ValidationSet(LAYOUT)
    fields = validation.reserve(1, 1, 0)
    assert [(values.shape, str(values.dtype)) for values in fields] == [
        ((2, 3), "float32"),
        ((4,), "float64"),
    ]
    validation.forget(1)
    assert validation.num_samples == 0
    assert validation.one_simulation() is None


def test_one_simulation_is_the_one_with_most_steps_in_order() -> None:
    validation = ValidationSet(LAYOUT)
    add(validation, 5, 0)
    truth = {step: add(validation, 6, step) for step in (3, 1, 2)}
    simulation = validation.one_simulation()
    assert simulation is not None
    assert (simulation.simulation, simulation.steps, simulation.times) == (6, (1, 2, 3), (1 / 3, 2 / 3, 1.0))
    assert simulation.parameters == pytest.approx({"a": 0.6})
    assert simulation.fields["u"].shape == (3, 2, 3)
    np.testing.assert_array_equal(simulation.fields["p"][2], truth[3][1])


def test_samples_may_arrive_while_others_are_evaluated(surrogate: Surrogate, losses: FieldLosses) -> None:
    validation = ValidationSet(LAYOUT, chunk_size=2)
    add(validation, 0, 0)
    arrived = threading.Event()

    def receive() -> None:
        for step in range(1, 200):
            add(validation, 0, step)
        arrived.set()

    thread = threading.Thread(target=receive)
    thread.start()
    seen = []
    while not arrived.is_set():
        report = validation.evaluate(surrogate, losses, SoloCollective(), batches=0)
        assert report is not None
        seen.append(report.num_samples)
    thread.join(10)
    assert seen == sorted(seen)
    assert validation.num_samples == 200


def test_what_was_held_out_is_there_again_after_a_restart() -> None:
    first, second = ValidationSet(LAYOUT), ValidationSet(LAYOUT)
    expected = {(3, step): add(first, 3, step) for step in range(5)}
    kept = first.kept()
    add(first, 4, 0)
    lengths = []
    for piece in kept.pieces(200):
        attempts = kept.attempts[sum(lengths) :]
        lengths.append(len(piece.labels))
        second.restore(piece, attempts, owned=lambda key: key.step != 2)
    assert lengths == [2, 2, 1]
    one = second.one_simulation()
    assert one is not None
    assert (one.simulation, one.steps) == (3, (0, 1, 3, 4))
    assert one.times == (0.0, 1 / 3, 1.0, 4 / 3)
    for position, step in enumerate(one.steps):
        for field, values in zip(LAYOUT.fields, expected[3, step], strict=True):
            np.testing.assert_array_equal(one.fields[field.name][position], values)


@pytest.mark.parametrize("window", [None, Window(length=2)], ids=["steps", "windows"])
def test_what_was_held_out_on_meshes_is_there_again_with_them(window: Window | None) -> None:
    sizes = {3: (5, 4), 4: (9, 2)}
    first, second = ValidationSet(ragged.LAYOUT, window=window), ValidationSet(ragged.LAYOUT, window=window)
    for simulation, own in sizes.items():
        static = ragged.mesh_of(simulation, own)
        first.begin(simulation, 1, ragged.sized(own))
        for step in range(3):
            key = SampleKey(simulation, step)
            fields = first.reserve(simulation, 1, step)
            for target, values in zip(fields, ragged.fields_of(key, own), strict=True):
                target[...] = values
            sample = Sample(
                key=key,
                attempt=1,
                purpose=Purpose.VALIDATION,
                time=step / 8,
                parameters=np.array([float(simulation)]),
                fields=fields,
                static=static,
                windows=None if window is None else FormedWindows(complete=(step - 1,) if step else ()),
            )
            first.take(sample, 0.0)
    kept = first.kept()
    pieces = [*kept.pieces(400)]
    assert len(pieces) > 2
    number = 0
    for piece in pieces:
        read = RowsToRead(RaggedForm(layout=ragged.LAYOUT, window_length=window and window.length))
        again = read.for_piece(0, len(piece.rows[0]))
        again.rows[0][:] = piece.rows[0]
        second.restore(again, kept.attempts[number:], owned=lambda key: key != SampleKey(3, 0))
        number += len(piece.labels)
    assert second.num_samples == first.num_samples - 1
    [expected], [found] = ([*each.batches(99, torch.device("cpu"))] for each in (first, second))
    assert found.size == expected.size - 1
    for name in ("fields", "offsets", "static"):
        wanted = getattr(expected.part(1, expected.size), name)
        for key, values in getattr(found, name).items():
            assert values.dtype == wanted[key].dtype
            assert torch.equal(values, wanted[key]), key
