"""The clocks of a study: who has been silent for too long, and what excuses it."""

import pytest

from melissa_like.protocol import control as say
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from tests.unit.studied import (
    FINISH,
    JOB,
    STARTED,
    Study,
    kinds,
    only_training,
    tell,
)


def test_jobs_that_end_before_hello_are_limited_whatever_their_exit_code() -> None:
    study = Study().started()
    assert study.ended("job-0001", "exit code 0") == (do.SubmitJobs(jobs=("job-0002",)),)
    commands = study.ended("job-0002", "exit code 0", "no licence")
    assert kinds(commands)[-1] == "EndStudy"
    assert "no licence" in study.state.reason


def test_a_job_that_starts_but_never_says_hello_is_canceled() -> None:
    study = Study().started()
    study.on(ev.JobStarted(job="job-0001"))
    assert study.state.next_deadline() == pytest.approx(50.0)
    assert do.CancelJob(job="job-0001") in study.on(ev.Tick(), after=51.0)


def test_a_job_in_the_queue_is_not_timed() -> None:
    study = Study().started()
    assert study.state.next_deadline() is None
    assert study.on(ev.Tick(), after=1e6) == ()


def test_a_silent_simulation_is_failed_and_its_job_canceled() -> None:
    study = Study().started().greeted()
    study.assigned()
    assert study.on(ev.Tick(), after=99.0) == ()
    assert study.on(ev.Tick(), after=2.0) == (do.CancelJob(job="job-0001"),)
    assert study.ended("job-0001", "canceled") == (do.SubmitJobs(jobs=("job-0002",)),)
    assert study.state.ledger.attempts_of(0) == 1


def test_a_simulation_that_computes_again_what_is_delivered_is_not_silent() -> None:
    study = Study(max_attempts=3).started().greeted()
    study.assigned()
    study.ended()
    again = study.greeted("job-0002").assigned("job-0002")
    sign = say.Recomputes(simulation=again.simulation, attempt=again.attempt)
    for _ in range(5):
        assert study.hear(sign, "job-0002", after=90.0) == ()
    study.hear(say.Recomputes(simulation=again.simulation, attempt=1), "job-0002", after=60.0)  # of an older attempt
    assert study.on(ev.Tick(), after=45.0) == (do.CancelJob(job="job-0002"),)


def test_back_pressure_stops_the_clocks() -> None:
    study = Study().started().greeted()
    study.assigned()
    study.server(say.Pressure(put_waits=True))
    assert study.state.next_deadline() is None
    assert study.on(ev.Tick(), after=1e6) == ()
    study.server(say.Pressure(put_waits=False))
    assert study.state.next_deadline() == pytest.approx(study.now + 100.0)


def test_parts_that_never_arrive_after_goodbye_fail_the_attempt() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    study.sent(given)
    assert study.on(ev.Tick(), after=11.0) == ()
    again = study.assigned()
    assert (again.simulation, again.attempt, again.delivered_steps) == (given.simulation, 2, ((0, 1),))


def test_a_job_that_hangs_after_its_goodbye_gives_its_place_to_another() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    assert study.on(ev.Tick(), after=99.0) == ()
    assert study.state.next_deadline() == study.now + 1.0
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)
    assert study.state.next_deadline() is None
    again = study.ended("job-0001", "canceled")
    assert again == (do.SubmitJobs(jobs=("job-0002",)),)
    assert study.state.ledger.num_restarts == 0


def test_a_job_that_hangs_after_it_told_of_a_failure_gives_its_place_to_another() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    failure = say.Failure(simulation=given.simulation, attempt=1, message="it diverged")
    assert study.hear(failure) == ()
    assert study.hear(say.Blocked(server_rank=0), rank=1) == (
        tell(JOB, say.Stop(reason="the study has given up this job"), rank=1),
    )
    assert study.on(ev.Tick(), after=9.0) == ()
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)
    assert study.on(ev.Tick(), after=1.0) == ()
    again = study.ended("job-0001", "canceled")
    assert again == (do.SubmitJobs(jobs=("job-0002",)),)


def test_a_finished_job_that_hangs_does_not_keep_another_attempt_from_running() -> None:
    study = Study(**only_training(1), delivery_timeout_s=10.0, step_timeout_s=20.0).started().greeted()
    study.sent(study.assigned())
    assert study.requests("job-0001") == (tell("job-0001", FINISH),)
    assert study.on(ev.Tick(), after=10.0) == ()  # the parts never came: the simulation waits for a free place
    assert study.on(ev.Tick(), after=10.0) == (do.CancelJob(job="job-0001"),)
    assert study.ended("job-0001", "canceled") == (do.SubmitJobs(jobs=("job-0002",)),)


def test_a_job_that_says_hello_and_nothing_more_is_a_failed_start() -> None:
    study = Study(max_failed_starts=1).started().greeted()
    commands = study.on(ev.Tick(), after=100.0)
    assert (kinds(commands)[0], kinds(commands)[-1]) == ("CancelJob", "EndStudy")
    assert "neither asked for a simulation nor ended for 100 s" in study.state.reason


def test_back_pressure_excuses_a_job_that_still_has_to_send() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.sent(given)
    study.server(say.Pressure(put_waits=True))
    assert study.on(ev.Tick(), after=1000.0) == ()
    study.server(say.Pressure(put_waits=False))
    study.delivered(given)
    assert study.on(ev.Tick(), after=99.0) == ()
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)


def test_a_server_that_is_never_ready_ends_the_study() -> None:
    study = Study()
    study.on(STARTED)
    study.on(ev.Tick(), after=51.0)
    assert "launcher.start_timeout_s" in study.state.reason


def test_a_clock_that_moved_on_is_looked_at_again_and_still_runs_out() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2, after=90.0)
    assert study.on(ev.Tick(), after=10.0) == ()
    assert study.state.next_deadline() == pytest.approx(study.now + 90.0)
    assert do.CancelJob(job="job-0001") in study.on(ev.Tick(), after=90.0)


def test_a_goodbye_shortens_the_clock_of_a_simulation() -> None:
    study = Study().started().greeted()
    study.sent(study.assigned())
    assert study.state.next_deadline() == pytest.approx(study.now + 10.0)
