"""What a scheduler does to a study: jobs wait, are refused, and are lost with their nodes."""

import pytest

from melissa_like.protocol import control as say
from melissa_like.records import ServerRank
from melissa_like.study import SimulationState
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from tests.unit.studied import JOB, SERVER, STARTED, Study, kinds, only_training


def lost(study: Study, job: str) -> None:
    study.on(ev.JobEnded(job=job, exit_code=None, message="NODE_FAIL", by_machine=True))


def test_a_lost_node_is_no_failure_of_the_simulation_that_ran_there() -> None:
    study = Study(**only_training(2), max_attempts=1).started()
    for number in range(1, 6):
        job = f"job-{number:04d}"
        given = study.greeted(job).assigned(job)
        assert (given.simulation, given.attempt) == (0, number)
        lost(study, job)
        assert study.state.ledger.state_of(0) is SimulationState.WAITING
    assert (study.state.outcome, study.state.ledger.failures_of(0), study.state.ledger.losses_of(0)) == (None, 0, 5)


def test_a_simulation_that_is_lost_again_and_again_is_given_up() -> None:
    study = Study(**only_training(2), max_attempts=2, max_failed_fraction=1.0).started()
    number = 0
    while study.state.ledger.num_given_up == 0:
        number += 1
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        lost(study, job)
    assert number == 10 * 2 + 2


def test_server_ranks_that_the_machine_takes_are_started_again_but_not_for_ever() -> None:
    study = Study(**only_training(2), max_server_restarts=0).started()
    for number in range(1, 31):
        address = ServerRank(0, number)
        study.on(ev.ServerEnded(address=address, message="PREEMPTED", by_machine=True))
        assert study.state.outcome is None
        study.on(ev.Tick(), after=31.0)
        assert study.state.server_incarnation == number + 1
    study.on(ev.ServerEnded(address=ServerRank(0, 31), message="PREEMPTED", by_machine=True))
    assert study.state.outcome == "failed"


def out_of_time(study: Study, job: str) -> None:
    study.on(ev.JobEnded(job=job, exit_code=None, message="TIMEOUT", out_of_time=True))


def test_a_simulation_that_had_a_part_of_its_jobs_time_has_not_failed() -> None:
    """A job that runs one simulation after another comes to its limit in the midst of one."""
    study = Study(**only_training(3), max_attempts=1).started().greeted()
    first = study.assigned()
    study.delivered(first)
    study.sent(first)
    second = study.assigned()
    out_of_time(study, JOB)
    ledger = study.state.ledger
    assert (ledger.state_of(second.simulation), ledger.failures_of(second.simulation)) == (SimulationState.WAITING, 0)
    alone = study.greeted("job-0002").assigned("job-0002")
    assert alone.simulation == second.simulation
    out_of_time(study, "job-0002")  # it had all the time that a job has
    assert ledger.failures_of(second.simulation) == 1


def test_jobs_that_are_lost_before_they_start_to_work_do_not_end_the_study_soon() -> None:
    study = Study(**only_training(2), max_failed_starts=2).started()
    number = 0
    while study.state.outcome is None:
        number += 1
        lost(study, f"job-{number:04d}")
    assert number == 10 * 2 + 1
    assert "NODE_FAIL" in study.state.reason


def test_server_ranks_that_wait_in_the_queue_are_not_late() -> None:
    study = Study(start_timeout_s=50.0)
    study.on(STARTED)
    study.on(ev.ServerQueued(address=SERVER), after=1.0)
    study.on(ev.Tick(), after=100_000.0)
    assert study.state.outcome is None
    study.on(ev.ServerStarted(address=SERVER))
    study.on(ev.Tick(), after=49.0)
    assert study.state.outcome is None
    assert "EndStudy" in kinds(study.on(ev.Tick(), after=2.0))
    assert "launcher.start_timeout_s" in study.state.reason


def test_the_queue_of_an_earlier_incarnation_stops_no_clock() -> None:
    study = Study(start_timeout_s=50.0)
    study.on(STARTED)
    study.on(ev.ServerQueued(address=ServerRank(0, 7)))
    study.on(ev.Tick(), after=51.0)
    assert study.state.outcome == "failed"


@pytest.mark.parametrize("rank", [0, 1])
def test_server_ranks_that_the_scheduler_refuses_end_the_study_at_once(rank: int) -> None:
    study = Study(num_server_ranks=2)
    study.on(STARTED)
    address = ServerRank(rank, study.state.server_incarnation)
    study.on(ev.ServerEnded(address=address, message="Slurm refused it: invalid partition", retry=False))
    assert study.state.outcome == "failed"
    assert study.state.reason == f"server rank {rank} cannot be started: Slurm refused it: invalid partition"


@pytest.mark.parametrize("hello_first", [True, False])
def test_a_job_that_came_before_the_server_ranks_makes_room_for_them(hello_first: bool) -> None:
    """It kept its place in the queue over a resume, started first, and has what the server ranks wait for."""
    study = Study(**only_training(2))
    study.on(STARTED)
    study.state.jobs.resume({JOB: "handle"}, 0.0)
    queued = ev.ServerQueued(address=SERVER)
    if hello_first:
        study.greeted()
        commands = study.on(queued)
    else:
        study.on(queued)
        study.on(ev.JobStarted(job=JOB))
        commands = study.hear(say.Hello(num_ranks=2, host="h", pid=1), JOB)
    assert commands == (do.CancelJob(job=JOB),)
    study.on(ev.JobEnded(job=JOB, exit_code=None, message="canceled"))
    assert study.state.outcome is None
