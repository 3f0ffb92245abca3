"""More or fewer solver jobs while a study runs: what goes first, and that no simulation is broken off."""

from dataclasses import replace

import pytest

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, Operator
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from melissa_like.study.jobs import JobPhase
from tests.unit.studied import STARTED, Study, kinds, only_training

USER = Operator("0a1b2c3d")


def scale(study: Study, max_jobs: int) -> tuple[do.Command, ...]:
    return study.on(ev.Said(address=USER, message=say.Scale(max_jobs=max_jobs)))


def answer(commands: tuple[do.Command, ...]) -> say.ControlMessage:
    (said,) = [c.message for c in commands if isinstance(c, do.Tell) and c.address == USER]
    return said


def canceled(commands: tuple[do.Command, ...]) -> list[str]:
    return [command.job for command in commands if isinstance(command, do.CancelJob)]


def finished(commands: tuple[do.Command, ...]) -> list[str]:
    """The jobs that are told that nothing is left for them."""
    return [
        command.address.job
        for command in commands
        if isinstance(command, do.Tell)
        and isinstance(command.address, ClientRank)
        and isinstance(command.message, say.Finish)
    ]


def test_more_jobs_are_submitted_at_once_and_the_sampler_is_asked_further_ahead() -> None:
    study = Study(**only_training(20), max_jobs=2).started()
    assert len(study.state.jobs.alive) == 2
    commands = scale(study, 5)
    assert answer(commands) == say.Scaled(before=2, max_jobs=5, num_jobs=2, num_canceled=0, num_leaving=0)
    submitted = [job for command in commands if isinstance(command, do.SubmitJobs) for job in command.jobs]
    assert len(study.state.jobs.alive) == 5, submitted
    assert study.state.settings.max_jobs == 5
    assert len(study.state.ledger) == 10


def test_of_jobs_that_wait_the_newest_are_canceled_first() -> None:
    study = Study(**only_training(20), max_jobs=4).started()
    study.on(ev.JobStarted(job="job-0001"))
    study.on(ev.JobStarted(job="job-0003"))
    commands = scale(study, 1)
    assert canceled(commands) == ["job-0004", "job-0002", "job-0003"]
    assert answer(commands) == say.Scaled(before=4, max_jobs=1, num_jobs=1, num_canceled=3, num_leaving=0)
    for job in canceled(commands):
        assert kinds(study.ended(job, "canceled")) == []
    assert study.state.outcome is None, "a job that was canceled is no failed start"
    assert list(study.state.jobs.alive) == ["job-0001"]


def test_a_job_with_a_simulation_ends_when_it_asks_for_the_next_one() -> None:
    study = Study(**only_training(20), max_jobs=2).started()
    first, second = (study.greeted(job).assigned(job) for job in ("job-0001", "job-0002"))
    commands = scale(study, 1)
    assert canceled(commands) == []
    assert answer(commands) == say.Scaled(before=2, max_jobs=1, num_jobs=2, num_canceled=0, num_leaving=1)
    for given, job in ((second, "job-0002"), (first, "job-0001")):
        study.delivered(given)
        study.sent(given, job=job)
    assert finished(study.requests("job-0002")) == ["job-0002"]
    assert study.requests("job-0001")[0].message.simulation == 2, "one job goes on"
    assert kinds(study.on(ev.JobEnded(job="job-0002", exit_code=0, message="exit code 0"))) == []
    assert study.state.ledger.num_complete == 2
    assert study.state.ledger.num_restarts == 0


def test_a_job_that_waits_for_the_sampler_goes_at_once() -> None:
    study = Study(**only_training(20), max_jobs=2, answers=False)
    (asked,) = [command for command in study.on(STARTED) if isinstance(command, do.AskParameters)]
    study.on(ev.ParametersDrawn(purpose=asked.purpose, parameters=((1.0,),) * asked.num))
    study.ready()
    jobs = list(study.state.jobs.alive)
    for job in jobs:
        study.greeted(job)
    for _ in range(asked.num // 2):
        for job in jobs:
            given = next(c.message for c in study.requests(job) if isinstance(c, do.Tell))
            study.delivered(given)
            study.sent(given, job=job)
    assert [study.requests(job) for job in jobs] == [(), ()], "the sampler's next answer is not there"
    commands = scale(study, 1)
    assert finished(commands) == [jobs[0]]
    assert answer(commands) == say.Scaled(before=2, max_jobs=1, num_jobs=1, num_canceled=1, num_leaving=0)
    assert study.state.jobs.alive[jobs[0]].phase is JobPhase.FINISHING


def test_what_was_taken_back_before_a_job_asked_changes_nothing_for_it() -> None:
    study = Study(**only_training(20), max_jobs=2).started()
    given = {job: study.greeted(job).assigned(job) for job in ("job-0001", "job-0002")}
    scale(study, 1)
    scale(study, 2)
    for job, assignment in given.items():
        study.delivered(assignment)
        study.sent(assignment, job=job)
        assert isinstance(study.requests(job)[0].message, say.Assignment)


def test_jobs_beyond_the_new_number_are_not_replaced() -> None:
    study = Study(**only_training(20), max_jobs=3).started()
    given = {job: study.greeted(job).assigned(job) for job in ("job-0001", "job-0002", "job-0003")}
    scale(study, 1)
    for job, assignment in given.items():
        study.delivered(assignment)
        study.sent(assignment, job=job)
        ended = study.on(ev.JobEnded(job=job, exit_code=0, message="exit code 0"))  # a main of its own: it never asks
        assert ("SubmitJobs" in kinds(ended)) == (job == "job-0003")
    assert len(study.state.jobs.alive) == 1


def test_a_number_that_is_none_is_refused_and_ends_nothing() -> None:
    study = Study(max_jobs=2).started()
    refused = answer(scale(study, 0))
    assert isinstance(refused, say.Refused)
    assert "max_jobs cannot become 0: write 1 or more" in refused.reason
    assert study.state.settings.max_jobs == 2
    assert study.on(ev.Said(address=USER, message=say.Request())) == ()
    assert study.state.outcome is None


def test_after_the_verdict_nothing_is_changed() -> None:
    study = Study(max_jobs=2).started()
    study.on(ev.Interrupted(reason="interrupted by SIGINT"))
    refused = answer(scale(study, 4))
    assert isinstance(refused, say.Refused)
    assert refused.reason == "the study has ended (stopped: interrupted by SIGINT)"
    assert study.state.settings.max_jobs == 2


@pytest.mark.parametrize("max_jobs", [1, 2, 3])
def test_another_launcher_goes_on_with_its_own_number(max_jobs: int) -> None:
    study = Study(**only_training(20), max_jobs=1).started()
    scale(study, 2)
    study.on(ev.Resumed(settings=replace(study.state.settings, max_jobs=max_jobs)))
    study.ready()
    study.restored()
    assert len(study.state.jobs.alive) == max_jobs
