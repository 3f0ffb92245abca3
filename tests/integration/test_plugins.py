"""What a user plugs in from outside the package, one file and one YAML each (a scheduler: test_scheduler)."""

import os
from pathlib import Path

import numpy as np
import pytest

from melissa_like.client import SerialCommunicator
from melissa_like.study import read_journal
from melissa_like.study.events import ParametersDrawn
from tests.integration.studies import ROOT, Ran, marked, melissa_like
from tests.plugins.solvers import marks, swirl

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))
ROWS, COLUMNS = np.mgrid[0:8, 0:4]


def run(folder: Path, *overrides: str) -> Ran:
    return melissa_like(folder / "study", *CONFIGS, *overrides)


@pytest.mark.mpi
def test_a_consumer_sees_what_was_sent(tmp_path: Path) -> None:
    """Two solver ranks, two server ranks: the means that both saw are those of what the solver computed."""
    ran = run(tmp_path, *marked(ranks=2), "experiment=means", "launcher.num_server_ranks=2")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    found = [np.load(path) for path in ran.run_dir.glob("means-*.npz")]
    assert len(found) == 2
    counts = [int(means["count"]) for means in found]
    assert sum(counts) == 8 * 6
    mean = sum(count * means["field_0"] for count, means in zip(counts, found, strict=True)) / sum(counts)
    sent = [marks(number, step, ROWS, COLUMNS) for number in range(8) for step in range(6)]
    np.testing.assert_allclose(mean, np.mean(sent, axis=0), rtol=1e-12)


def test_a_task_of_two_steps_is_given_windows(tmp_path: Path) -> None:
    """Two steps in a row of six: five windows a simulation, or two, between which two steps are in none."""
    study = [*marked(), "solver.launch=''", "experiment=two_steps", "buffer=fifo", "study.num_validation_simulations=1"]
    ran = run(tmp_path, *study, "buffer.window.hop=3")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["expected"] == ran.report["samples"]["trained_on"] == 8 * 2
    assert ran.report["window"] == {"length": 2, "stride": 1, "hop": 3, "steps_in_no_window": 8 * 2}
    assert "sample: 2 time steps, 1 apart, one every 3; 16 time steps are in none" in ran.out
    assert ran.report["validation"]["num_samples"] == 2
    assert ran.report["problems"] == []


def test_a_window_that_is_longer_than_a_simulation_is_refused_at_once(tmp_path: Path) -> None:
    task = "training.task._target_=melissa_like.training.Autoregressive"
    ran = run(tmp_path, *marked(), "solver.launch=''", task, "buffer.window.length=7")
    assert ran.code == 1
    for words in ("a window of 7 time steps", "only 6 (solver.num_steps)", "shorten buffer.window"):
        assert words in ran.err
    assert "Traceback" not in ran.err


def test_the_parameters_of_later_simulations_depend_on_observed_losses(tmp_path: Path) -> None:
    slow = marked("slow", simulations=30, pause_s=0.02)
    ran = run(tmp_path, *slow, "solver.launch=''", "experiment=steered", "buffer.watermark=2")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    drawn = [
        value
        for entry in read_journal(ran.run_dir)
        if isinstance(entry.event, ParametersDrawn)
        for (value,) in entry.event.parameters
    ]
    assert len(drawn) == 30
    bred = [index for index, value in enumerate(drawn) if value % 1]
    assert bred
    assert all(drawn[index] - 0.5 in drawn[:index] for index in bred)


def error_of_the_mean() -> float:
    """The relative error of predicting the mean of all fields, over parameters drawn as the study draws them."""
    generator = np.random.default_rng(0)
    samples: dict[str, list[np.ndarray]] = {"velocity": [], "pressure": []}
    for _ in range(200):
        parameters = {"strength": generator.uniform(0.5, 2.0), "tilt": generator.uniform(-1.0, 1.0)}
        for _, fields in swirl(parameters, SerialCommunicator()):
            for name, values in fields.items():
                samples[name].append(values)
    errors = []
    for values in map(np.array, samples.values()):
        norm = np.sqrt((values**2).sum(axis=tuple(range(1, values.ndim))))
        error = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=tuple(range(1, values.ndim))))
        errors.append(np.mean(error / norm))
    return float(np.mean(errors))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two server ranks and a solver on one core take minutes")
def test_a_network_on_a_grid_learns_two_fields_on_two_ranks(tmp_path: Path) -> None:
    overrides = ["solver=swirl", "model=grid", "launcher.num_server_ranks=2", "study.num_simulations=40"]
    overrides += ["buffer.capacity=400", "buffer.views_per_sample=30", "training.batch_size=16"]
    overrides += ["training.optimizer.lr=0.01", "monitoring.tensorboard=false"]
    ran = run(tmp_path, *overrides)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    assert ran.report["validation"]["relative_l2"] < error_of_the_mean() / 2
    assert {path.stem for path in (ran.run_dir / "figures").glob("*.png")} >= {"velocity", "pressure"}
