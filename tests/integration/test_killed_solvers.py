"""A rank of a solver that is killed, at whatever step: another attempt, and nothing twice, nothing mixed."""

import json
from collections import Counter
from pathlib import Path

import pytest

from melissa_like.study import events as ev
from tests.integration.studies import melissa_like
from tests.integration.told import happened, told, trained


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("rank", "step"),
    [
        (0, 0),
        pytest.param(1, 0, marks=pytest.mark.slow),
        pytest.param(0, 3, marks=pytest.mark.slow),
        (1, 3),
        pytest.param(0, 5, marks=pytest.mark.slow),
        pytest.param(1, 5, marks=pytest.mark.slow),
        (1, 6),
    ],
)
def test_a_killed_rank_costs_an_attempt_and_no_sample(tmp_path: Path, rank: int, step: int) -> None:
    study = told(tmp_path, ranks=2, simulations=3, simulation=1, step=step, rank=rank)
    ran = melissa_like(tmp_path / "study", *study, "buffer=fifo", timeout_s=60)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (18, 18, 18, 0)
    seen = list(trained(tmp_path))
    assert Counter(key for key, _ in seen) == {(number, now): 1 for number in range(3) for now in range(6)}
    attempts = {now: attempt for (number, now), attempt in seen if number == 1}
    assert all(attempts[now] == 2 for now in range(step, 6))
    assert set(attempts.values()) <= {1, 2}
    killed_at = json.loads((tmp_path / "hit-1-1").read_text())["at"]
    noticed_at = next(entry.at_s for entry in happened(ran.run_dir, ev.JobEnded) if entry.at_s >= killed_at)
    assert noticed_at - killed_at <= 2.0


def test_a_simulation_that_always_crashes_is_given_up_with_its_parameters_and_last_words(tmp_path: Path) -> None:
    study = told(tmp_path, simulations=6, simulation=2, step=3, attempts=99, how="SIGSEGV")
    overrides = ["launcher.max_attempts=2", "launcher.max_failed_fraction=0.3", "buffer=fifo"]
    ran = melissa_like(tmp_path / "study", *study, *overrides, timeout_s=60)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert samples["delivered"] + samples["given_up"] == samples["expected"] == 36
    assert 3 <= samples["given_up"] <= 6
    assert samples["lost"] == 0
    (failed,) = ran.report["failed_simulations"]
    assert (failed["simulation"], failed["attempts"], failed["parameters"]) == (2, 2, {"number": 2.0})
    assert "SIGSEGV" in failed["reason"]
    assert failed["last_words"], failed
    assert len(list(tmp_path.glob("hit-2-*"))) == 2


def test_a_solver_that_delivers_and_then_always_dies_ends_a_study_of_any_size_soon(tmp_path: Path) -> None:
    study = told(tmp_path, simulations=200)
    study = [override for override in study if "_target_=tests.plugins.told" not in override]
    dies = ["solver.solve._target_=tests.plugins.told.always_dies", "launcher.max_jobs=1"]
    ran = melissa_like(tmp_path / "study", *study, *dies, timeout_s=60)
    assert ran.code == 1
    assert "simulations in a row failed 3 times, and none completed" in ran.report["reason"]
    assert 6 <= ran.report["simulations"]["restarted"] <= 12


@pytest.mark.slow
def test_a_hung_solver_is_replaced_and_one_that_is_slow_or_held_back_is_left_alone(tmp_path: Path) -> None:
    """Steps of 0.8 s make more than the deadline of 2 s together: those too that are computed again and not sent."""
    study = told(tmp_path, simulations=4, pause_s=0.8, simulation=2, step=4, how="SIGSTOP")
    slow_training = ["training.loop._target_=tests.plugins.loops.rests", "+training.loop.seconds=3.0"]
    limits = ["launcher.step_timeout_s=2", "launcher.delivery_timeout_s=2", "launcher.grace_s=0.5"]
    small = ["buffer=fifo", "buffer.capacity=2", "training.batch_size=1", "launcher.max_jobs=2"]
    ran = melissa_like(tmp_path / "study", *study, *slow_training, *limits, *small, timeout_s=90)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 24
    assert ran.report["stalls"]["solvers_waited_seconds"] > 2.0
    attempts = {number: len((tmp_path / f"attempts-{number}").read_text().splitlines()) for number in range(4)}
    assert attempts == {0: 1, 1: 1, 2: 2, 3: 1}


@pytest.mark.mpi
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_job_of_which_one_rank_hangs_is_replaced(tmp_path: Path, rank: int) -> None:
    """The other one waits for it in a collective that has no deadline of its own."""
    study = told(tmp_path, ranks=2, simulations=3, simulation=1, step=2, rank=rank, how="SIGSTOP")
    limits = ["launcher.step_timeout_s=2", "launcher.grace_s=0.5", "buffer=fifo"]
    ran = melissa_like(tmp_path / "study", *study, *limits, timeout_s=60)
    assert ran.code == 0, ran.err
    assert ran.report["simulations"]["restarted"] == 1
    assert Counter(key for key, _ in trained(tmp_path)) == {(number, now): 1 for number in range(3) for now in range(6)}
