"""When a study has failed: a solver that fails always ends it after a few jobs, one that fails sometimes does not."""

import random

import pytest

from melissa_like.protocol import control as say
from melissa_like.study import SimulationState
from melissa_like.study import events as ev
from tests.unit.studied import Study, only_training

DEFAULT = {"max_attempts": 3, "max_failed_starts": 3, "max_failed_fraction": 0.1}


def failing(study: Study, delivers: tuple[int, ...] = (), lives_s: float = 1.0) -> int:
    """Jobs until the verdict, if every job is given a simulation and dies."""
    for number in range(1, 1000):
        job = f"job-{number:04d}"
        given = study.greeted(job).assigned(job)
        study.now += lives_s
        if delivers:
            study.delivered(given, steps=delivers, parts=2)
        study.ended(job, "exit code 7", "no licence")
        if study.state.outcome is not None:
            return number
    raise AssertionError("the study has not ended")


def completes(study: Study, job: str) -> None:
    given = study.greeted(job).assigned(job)
    study.delivered(given)
    study.sent(given, job=job)
    study.ended(job, "exit code 0")


def test_a_solver_that_dies_before_its_first_sample_is_stopped_after_a_few_jobs_in_a_study_of_any_size() -> None:
    study = Study(**only_training(105), **DEFAULT).started()
    assert failing(study) == 3
    assert study.state.outcome == "failed"
    for word in ("3 attempts failed before a single sample", "simulation 0", "exit code 7", "no licence"):
        assert word in study.state.reason


@pytest.mark.parametrize("num_simulations", [40, 105, 1_000_000])
@pytest.mark.parametrize("step", [0, 1])
def test_a_solver_that_delivers_and_then_always_dies_is_stopped_after_as_many(num_simulations: int, step: int) -> None:
    study = Study(**only_training(num_simulations), **DEFAULT, num_steps=3).started()
    assert failing(study, delivers=tuple(range(step + 1))) == 9
    for word in ("3 simulations in a row failed 3 times", "max_failed_fraction (0.1)", "simulation 2", "no licence"):
        assert word in study.state.reason


def test_a_solver_that_is_fine_first_and_then_always_dies_is_stopped_soon() -> None:
    study = Study(**only_training(10_000), **DEFAULT).started()
    for number in range(1, 51):
        completes(study, f"job-{number:04d}")
    for number in range(51, 200):
        job = f"job-{number:04d}"
        study.delivered(study.greeted(job).assigned(job), steps=(0,), parts=2)
        study.ended(job)
        if study.state.outcome is not None:
            break
    assert number == 50 + 3 * 5
    assert "5 simulations in a row" in study.state.reason


@pytest.mark.parametrize("seed", range(5))
def test_simulations_that_fail_now_and_then_do_not_end_a_study(seed: int) -> None:
    dice = random.Random(seed)
    study = Study(**only_training(2000), **{**DEFAULT, "max_attempts": 1, "max_failed_fraction": 0.2}).started()
    for number in range(1, 2001):
        job = f"job-{number:04d}"
        if dice.random() < 0.15:
            study.delivered(study.greeted(job).assigned(job), steps=(0,), parts=2)
            study.ended(job)
        else:
            completes(study, job)
        assert study.state.outcome is None, study.state.reason
    assert study.state.ledger.num_given_up > 200


def test_simulations_that_fail_within_seconds_do_not_end_a_study_in_which_others_take_an_hour() -> None:
    """Ten of a hundred jobs fail three times each before any of the others could have completed."""
    study = Study(**only_training(1000), **DEFAULT, max_jobs=100, step_timeout_s=1e6).started()
    jobs = [f"job-{number:04d}" for number in range(1, 101)]
    given = {job: study.greeted(job).assigned(job) for job in jobs}
    study.delivered(given[jobs[0]], steps=(0,), parts=2)
    number = 100
    for job in jobs[::10]:
        for _ in range(3):
            study.now += 1.0
            study.ended(job)
            number += 1
            job = f"job-{number:04d}"
            study.greeted(job).assigned(job)
    assert study.state.ledger.num_given_up == 10
    assert study.state.outcome is None


def test_a_simulation_that_has_sent_everything_shows_that_the_solver_works() -> None:
    study = Study(**only_training(100), **DEFAULT, max_jobs=2, delivery_timeout_s=1e6).started()
    study.sent(study.greeted("job-0001").assigned("job-0001"), job="job-0001")
    study.server(say.Progress(deliveries=(say.Delivery(simulation=0, attempt=1, steps=(0,), num_parts=1),)))
    for number in range(2, 17):
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        study.ended(job)
    assert study.state.ledger.num_given_up == 5
    assert study.state.outcome is None


def test_where_everything_may_fail_nothing_ends_a_study_early() -> None:
    study = Study(**only_training(20), **{**DEFAULT, "max_failed_fraction": 1.0}).started()
    for number in range(1, 60):
        job = f"job-{number:04d}"
        study.delivered(study.greeted(job).assigned(job), steps=(0,), parts=2)
        study.ended(job)
        assert study.state.outcome is None


def test_a_first_wave_of_jobs_that_is_killed_together_does_not_end_the_study() -> None:
    study = Study(**only_training(8), max_jobs=4, max_attempts=3, max_failed_starts=3).started()
    jobs = [f"job-{number:04d}" for number in range(1, 5)]
    for job in jobs:
        study.greeted(job).assigned(job)
    for job in jobs:
        study.ended(job, "exit code 9")
    assert study.state.outcome is None


def test_of_a_simulation_that_was_given_up_the_last_words_are_kept() -> None:
    study = Study(**only_training(3), max_attempts=2).started()
    for job in ("job-0001", "job-0002"):
        study.greeted(job).assigned(job)
        study.on(ev.JobEnded(job=job, exit_code=7, message="exit code 7", log_tail="last lines of x.log:\nno licence"))
    ledger = study.state.ledger
    assert ledger.state_of(0) is SimulationState.GIVEN_UP
    assert ledger.reasons[0] == "job-0002 ended (exit code 7) before its goodbye: no licence"
    assert ledger.last_words[0] == "last lines of x.log:\nno licence"
