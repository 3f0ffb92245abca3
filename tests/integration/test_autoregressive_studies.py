"""Studies that learn to go on from the last time steps: what they report, and what is left of them."""

from pathlib import Path

import numpy as np
import pytest

from melissa_like.client import SerialCommunicator
from melissa_like.training import load_surrogate
from tests.integration.studies import ROOT, Ran, melissa_like
from tests.plugins.waves import solve

STUDY = (
    "--config-dir",
    str(ROOT / "tests/plugins/configs"),
    "solver=waves",
    "launcher=inline",
    "study.num_simulations=30",
    "study.num_validation_simulations=3",
    "buffer.capacity=200",
    "training.batch_size=16",
    "training.optimizer.lr=3e-3",
    "model.hidden=[64]",
    "training.task._target_=melissa_like.training.Autoregressive",
    "+training.task.horizon=4",
)
AT = {"speed": 1.2, "phase": 0.7}


def steps_of(parameters: dict[str, float]) -> dict[str, np.ndarray]:
    sent = [fields for _, fields in solve(parameters, SerialCommunicator())]
    return {name: np.stack([fields[name] for fields in sent]) for name in sent[0]}


def error_of_persistence(distance: int) -> float:
    """The relative error of taking a step for that so much later, over parameters as the study draws them."""
    generator, errors = np.random.default_rng(0), []
    for _ in range(50):
        drawn = {"speed": generator.uniform(0.5, 2.0), "phase": generator.uniform(0, 6.28)}
        for values in steps_of(drawn).values():
            later, now = values[distance:], values[: len(values) - distance]
            errors.append(np.linalg.norm(later - now, axis=1) / np.linalg.norm(later, axis=1))
    return float(np.mean(errors))


def check(ran: Ran) -> None:
    """The books in windows, the errors of one call and of roll-outs, the pictures, and the surrogate."""
    assert ran.code == 0, ran.err
    report = ran.report
    assert report["samples"]["lost"] == 0
    assert report["samples"]["trained_on"] == report["samples"]["expected"] == 30 * 6
    validation = report["validation"]
    assert validation["num_samples"] == 3 * 6
    assert validation["relative_l2"] < error_of_persistence(1) / 2
    assert validation["relative_l2_median"] <= validation["relative_l2_p99"] <= validation["relative_l2_max"]
    rollout = validation["rollout"]
    assert (rollout["num_simulations"], rollout["num_steps"], rollout["num_fields"]) == (3, 24, 6)
    means = [step["mean"] for step in rollout["by_step"]]
    assert len(means) == 24
    assert means[0] < validation["relative_l2_max"]
    assert means[9] < error_of_persistence(10) / 2
    assert 10 < rollout["correlation_time"] <= 24
    assert "roll-out error: " in ran.out
    assert "correlation time: " in ran.out
    assert {path.stem for path in (ran.run_dir / "figures").glob("*.png")} >= {"height", "slope", "rollout"}
    truth = steps_of(AT)
    rolled = load_surrogate(ran.run_dir / "surrogate").rollout(
        {name: values[0] for name, values in truth.items()}, AT, num_steps=5
    )
    for name, values in rolled.items():
        assert values.shape == (5, 16)
        assert np.linalg.norm(values - truth[name][1:6]) < 0.2 * np.linalg.norm(truth[name][1:6])


def test_a_study_tells_of_roll_outs_and_leaves_a_surrogate_that_makes_them(tmp_path: Path) -> None:
    curriculum = "+training.task.curriculum._target_=melissa_like.training.curriculum.Gradual"
    check(melissa_like(tmp_path / "study", *STUDY, curriculum, "buffer.views_per_sample=60"))


@pytest.mark.slow
@pytest.mark.mpi
def test_so_it_does_with_two_server_ranks_and_a_pushforward(tmp_path: Path) -> None:
    study = [override for override in STUDY if override != "launcher=inline"]
    curriculum = "+training.task.curriculum._target_=melissa_like.training.curriculum.Pushforward"
    ranks = ["launcher.num_server_ranks=2", "launcher.max_jobs=2", "buffer.views_per_sample=120"]
    check(melissa_like(tmp_path / "study", *study, curriculum, *ranks))
