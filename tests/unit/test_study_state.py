"""The study as a table of events and the commands they lead to."""

import msgspec
import pytest

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, Purpose, Ranges, Routing, ServerRank, Window
from melissa_like.study import Entry, Journal, SimulationState, StudyState, read_journal
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from tests.unit.studied import (
    FINISH,
    HELD_OUT_OVER,
    JOB,
    RANK_0,
    SERVER,
    SETTINGS,
    STARTED,
    WELCOME,
    Study,
    kinds,
    only_training,
    over,
    tell,
)


def test_jobs_start_when_rank_0_has_tried_the_training_and_are_welcomed_when_all_ranks_receive() -> None:
    study = Study(num_server_ranks=2)
    assert kinds(study.on(STARTED)) == ["StartServers"]
    greeting, submission = study.ready(0)
    assert greeting == do.Tell(address=SERVER, message=say.ServerWelcome(rendezvous="h:1", wants_losses=False))
    assert submission == do.SubmitJobs(jobs=(JOB,))
    assert kinds(study.on(ev.JobStarted(job=JOB))) == []
    assert kinds(study.hear(say.Hello(num_ranks=2, host="h", pid=1))) == []
    assert kinds(study.requests()) == []
    _, welcome, given = study.ready(1)
    endpoints = msgspec.structs.replace(WELCOME, server_endpoints=("tcp://s0", "tcp://s1"), server_incarnation=1)
    assert welcome == tell(JOB, endpoints)
    assert isinstance(given.message, say.Assignment)


def test_no_job_starts_for_the_other_server_ranks_nor_for_a_training_that_is_refused() -> None:
    study = Study(num_server_ranks=2)
    study.on(STARTED)
    assert study.ready(1) == ()
    commands = study.server(say.ServerFailed(message="model: it returned the wrong shape"))
    assert "SubmitJobs" not in kinds(commands)
    assert study.state.outcome == "failed"
    assert "model: it returned the wrong shape" in study.state.reason


def test_held_out_simulations_run_first_with_their_own_parameters() -> None:
    given = Study().started().greeted().assigned()
    assert (given.simulation, given.attempt, given.purpose, given.parameters) == (0, 1, Purpose.VALIDATION, (10.0,))


def test_a_send_is_not_a_delivery() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    assert study.delivered(given, steps=(0,), parts=2) == ()
    assert study.sent(given) == ()
    assert study.state.ledger.num_complete == 0
    assert study.delivered(given, steps=(1,), parts=2) == (over(0, Purpose.VALIDATION), HELD_OUT_OVER)


def test_the_whole_study_completes_once_every_server_rank_has_trained() -> None:
    study = Study().started().greeted()
    for _ in range(3):
        given = study.assigned()
        study.delivered(given)
        last = study.sent(given)
    assert last[-1] == do.Tell(address=SERVER, message=say.ReceptionOver(num_samples=4))
    assert study.requests("job-0001") == (tell("job-0001", FINISH),)
    assert study.ended("job-0001", "exit code 0") == ()
    assert kinds(study.trained("drained", 0)) == ["EndStudy"]
    assert study.state.outcome == "completed"


def test_a_dead_job_leads_to_another_attempt_with_the_same_parameters_and_without_delivered_steps() -> None:
    study = Study().started().greeted()
    first = study.assigned()
    study.delivered(first, steps=(0,), parts=2)
    commands = study.ended("job-0001", "killed by SIGKILL")
    assert commands == (do.SubmitJobs(jobs=("job-0002",)),)
    again = study.greeted("job-0002").assigned("job-0002")
    assert (again.simulation, again.attempt, again.parameters) == (first.simulation, 2, first.parameters)
    assert again.delivered_steps == ((0, 1),)


def test_reports_of_an_older_attempt_count_as_delivered_but_not_as_its_parts() -> None:
    study = Study().started().greeted()
    first = study.assigned()
    study.ended("job-0001", "exit code 1")
    again = study.greeted("job-0002").assigned("job-0002")
    study.delivered(first, steps=(0,), parts=2)
    assert study.sent(again, parts=2, job="job-0002") == ()
    assert study.delivered(again, steps=(1,), parts=2) == (over(0, Purpose.VALIDATION), HELD_OUT_OVER)


def test_too_many_failures_end_the_study_with_the_story() -> None:
    study = Study(max_failed_fraction=0.0).started()
    for number in (1, 2):
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        commands = study.ended(job, "exit code 7", "boom")
    assert isinstance(commands[-1], do.EndStudy)
    assert commands[-1].outcome == "failed"
    for word in ("simulation 0", "exit code 7", "boom", "launcher.max_failed_fraction"):
        assert word in commands[-1].reason


def test_a_given_up_simulation_is_counted_and_the_study_goes_on() -> None:
    study = Study(**only_training(3), max_attempts=1).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    commands = study.ended("job-0001", "exit code 1")
    assert kinds(commands) == ["Tell", "SubmitJobs"]
    assert commands[0] == over(0, given_up=1)
    ledger = study.state.ledger
    assert (ledger.num_given_up, ledger.samples.num_given_up, ledger.samples.num_delivered) == (1, 1, 1)
    assert study.state.outcome is None


def test_of_a_complete_simulation_only_the_count_is_kept_and_duplicates_do_not_change_it() -> None:
    study = Study(**only_training(2)).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    assert not study.state.ledger.samples.delivered_of(0)
    study.delivered(given)
    ledger = study.state.ledger
    assert (ledger.num_complete, ledger.samples.num_delivered, study.state.samples_expected) == (1, 2, 4)


def test_a_sample_that_is_completed_after_its_simulation_was_given_up_counts_as_delivered() -> None:
    study = Study(**only_training(3), max_attempts=1).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    study.ended("job-0001", "exit code 1")
    study.delivered(given, steps=(1,), parts=2)
    study.delivered(given, steps=(1,), parts=2)
    ledger = study.state.ledger
    assert (ledger.num_given_up, ledger.samples.num_given_up, ledger.samples.num_delivered) == (1, 0, 2)
    assert study.state.samples_expected == 6


def test_a_study_without_a_single_sample_has_failed() -> None:
    study = Study(max_failed_fraction=1.0, max_attempts=1, max_failed_starts=4).started()
    for number in (1, 2, 3):
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        last = study.ended(job, "exit code 1")
    assert kinds(last)[-1] == "EndStudy"
    assert study.state.outcome == "failed"
    assert "none of the 3 simulations delivered a sample" in study.state.reason


def test_the_verdict_of_a_completed_study_tells_of_simulations_given_up() -> None:
    study = Study(max_failed_fraction=1.0, max_attempts=1).started().greeted()
    study.assigned()
    study.ended("job-0001", "exit code 1")
    study.greeted("job-0002")
    for _ in range(2):
        given = study.assigned("job-0002")
        study.delivered(given)
        study.sent(given, job="job-0002")
    study.trained("drained", 0)
    assert study.state.outcome == "completed"
    assert study.state.reason == "every delivered sample was trained on; 1 of 3 simulations were given up"


def test_a_retry_does_not_wait_for_a_program_that_runs_one_simulation_only() -> None:
    study = Study(**only_training(2), max_jobs=2).started().greeted().greeted("job-0002")
    study.sent(study.assigned())
    study.assigned("job-0002")
    ended = study.ended("job-0002", "killed by SIGKILL")
    assert ended == (do.SubmitJobs(jobs=("job-0003",)),)


def test_boxes_that_do_not_cover_the_field_fail_the_attempt_at_once() -> None:
    study = Study(max_attempts=1, max_failed_fraction=0.0).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=4)
    study.sent(given)
    assert study.state.outcome == "failed"
    assert "do not cover" in study.state.reason


def test_fewer_steps_than_declared_end_the_study() -> None:
    study = Study().started().greeted()
    study.sent(study.assigned(), num_steps=1)
    assert study.state.outcome == "failed"
    assert "solver.num_steps is 2" in study.state.reason


def test_an_adaptive_solver_declares_its_steps_at_goodbye() -> None:
    study = Study(num_steps=None).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0, 1, 2), parts=6)
    assert study.sent(given, parts=6, num_steps=3) == (over(0, Purpose.VALIDATION), HELD_OUT_OVER)


def test_a_world_of_another_size_ends_the_study_with_the_reason() -> None:
    study = Study().started()
    study.on(ev.JobStarted(job="job-0001"))
    study.hear(say.Hello(num_ranks=1, host="h", pid=1), "job-0001")
    assert study.state.outcome == "failed"
    assert "world of 1 ranks" in study.state.reason


PRESSURE = "field 'pressure' is not declared"


def test_a_broken_contract_ends_the_study_with_the_solvers_mistake() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.server(
        say.RejectedPart(simulation=given.simulation, attempt=1, reason="", message=PRESSURE, breaks_contract=True)
    )
    assert study.state.outcome == "failed"
    assert "field 'pressure'" in study.state.reason


def test_a_lost_message_fails_the_attempt_and_not_the_study() -> None:
    study = Study(**only_training(1)).started().greeted()
    given = study.assigned()
    lost = say.RejectedPart(simulation=0, attempt=1, reason="", message="no OPEN came", breaks_contract=False)
    assert study.server(lost) == (do.CancelJob(job="job-0001"),)
    assert study.server(lost) == ()
    assert study.ended("job-0001", "canceled") == (do.SubmitJobs(jobs=("job-0002",)),)
    again = study.greeted("job-0002").assigned("job-0002")
    assert (given.attempt, again.attempt) == (1, 2)
    assert study.server(lost) == ()
    assert "no OPEN came" in study.state.ledger.story_of(0)


def test_what_is_delivered_after_the_verdict_still_counts() -> None:
    study = Study(**only_training(2)).started().greeted()
    given = study.assigned()
    study.on(ev.Interrupted(reason="interrupted by SIGINT"))
    assert study.delivered(given) == ()
    assert study.state.ledger.samples.num_delivered == 2
    foreign = say.Delivery(simulation=77, attempt=1, steps=(0,), num_parts=1)
    assert study.server(say.Progress(deliveries=(foreign,))) == ()
    assert study.hear(say.Progress(deliveries=())) == ()
    assert (study.state.ledger.samples.num_delivered, study.state.reason) == (2, "interrupted by SIGINT")


UNFIT = "time step 1 of simulation 0 is not finite: field 'u' is nan at [0]"


def test_a_sample_that_is_not_finite_fails_the_attempt_at_once_and_counts_like_an_exception() -> None:
    study = Study(**only_training(3)).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    unfit = say.UnfitSample(simulation=0, attempt=1, message=UNFIT)
    assert study.server(unfit) == (do.CancelJob(job=JOB),)
    assert study.server(unfit) == ()
    assert study.ended(JOB, "canceled") == (do.SubmitJobs(jobs=("job-0002",)),)
    again = study.greeted("job-0002").assigned("job-0002")
    assert (again.simulation, again.attempt, again.delivered_steps) == (0, 2, ((0, 1),))
    assert study.server(msgspec.structs.replace(unfit, attempt=2)) == (
        do.CancelJob(job="job-0002"),
        over(0, given_up=1),
    )
    assert study.state.ledger.reasons == {0: UNFIT}
    assert study.state.outcome is None


def test_a_sample_that_is_not_finite_fails_a_simulation_whose_job_has_gone_on() -> None:
    study = Study(**only_training(3)).started().greeted()
    given = study.assigned()
    study.sent(given)
    study.assigned()
    assert study.server(say.UnfitSample(simulation=0, attempt=1, message=UNFIT)) == ()
    assert study.state.ledger.state_of(0) is SimulationState.WAITING
    assert study.state.ledger.state_of(1) is SimulationState.RUNNING


def test_a_held_out_simulation_with_a_value_that_is_not_finite_is_no_complete_one() -> None:
    study = Study(max_attempts=1).started().greeted()
    given = study.assigned()
    study.server(say.UnfitSample(simulation=given.simulation, attempt=1, message=UNFIT))
    assert (study.state.ledger.num_complete, study.state.ledger.num_given_up) == (0, 1)


def test_a_dropped_sample_completes_its_simulation_and_the_verdict_tells_of_it() -> None:
    study = Study(**only_training(1)).started().greeted()
    given = study.assigned()
    delivery = say.Delivery(simulation=0, attempt=1, steps=(0,), num_parts=4, dropped=(1,))
    study.server(say.Progress(deliveries=(delivery,)))
    assert study.sent(given)[0] == over(0, given_up=1)
    study.trained()
    assert study.state.outcome == "completed"
    assert study.state.reason == "every delivered sample was trained on; 1 samples that were not finite were left out"


def test_a_study_of_which_every_sample_was_dropped_says_so() -> None:
    study = Study(**only_training(1)).started().greeted()
    given = study.assigned()
    study.server(
        say.Progress(deliveries=(say.Delivery(simulation=0, attempt=1, steps=(), num_parts=4, dropped=(0, 1)),))
    )
    study.sent(given)
    assert study.state.outcome == "failed"
    assert "2 were left out because they were not finite" in study.state.reason


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        (
            "Traceback (most recent call last):\n  File ...\nArithmeticError: it diverged\n",
            "ArithmeticError: it diverged",
        ),
        ("", "the solver raised in job-0001"),
    ],
)
def test_the_reason_of_a_simulation_that_was_given_up_names_the_exception(detail: str, reason: str) -> None:
    study = Study(**only_training(3), max_attempts=1).started().greeted()
    study.assigned()
    study.hear(say.Failure(simulation=0, attempt=1, message=detail))
    assert study.state.ledger.reasons[0].endswith(reason)


def test_a_dead_server_rank_ends_the_study() -> None:
    study = Study().started().greeted()
    study.assigned()
    commands = study.on(ev.ServerEnded(address=SERVER, message="killed by SIGKILL"))
    assert [c.address for c in commands if isinstance(c, do.Tell)] == [RANK_0, SERVER]
    assert kinds(commands)[-1] == "EndStudy"
    assert "killed by SIGKILL" in study.state.reason


@pytest.mark.parametrize(
    ("end", "why"), [("max_batches", "training.max_batches was reached"), ("returned", "training.loop returned")]
)
def test_training_that_ends_early_stops_the_jobs(end: say.TrainingEnd, why: str) -> None:
    study = Study().started().greeted()
    study.assigned()
    commands = study.trained(end)
    assert [c.address for c in commands if isinstance(c, do.Tell)] == [RANK_0, SERVER]
    assert kinds(commands)[-1] == "EndStudy"
    assert study.state.outcome == "stopped"
    assert study.state.reason == f"{why} before all simulations had run"


def test_a_study_is_only_completed_if_every_server_rank_drained_its_buffer() -> None:
    study = Study(**only_training(1), num_server_ranks=2).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given, parts=(4, 0))
    assert study.trained("drained", 0) == ()
    study.trained("max_batches", 1)
    assert study.state.outcome == "stopped"
    assert study.state.reason == "training.max_batches was reached before every delivered sample was trained on"


def test_a_blocked_rank_is_told_where_the_server_is_or_that_it_must_end() -> None:
    study = Study().started().greeted()
    study.assigned()
    (command,) = study.hear(say.Blocked(server_rank=0), rank=1)
    assert command.address == ClientRank(JOB, 1)
    assert command.message.server_endpoints == ("tcp://s0",)
    (command,) = study.hear(say.Blocked(server_rank=0), "job-0099", rank=1)
    assert isinstance(command.message, say.Stop)


def test_a_job_that_is_told_to_finish_may_wait_until_everything_is_sent() -> None:
    study = Study(**only_training(1)).started().greeted()
    study.sent(study.assigned())
    assert study.requests() == (tell(JOB, FINISH),)
    (command,) = study.hear(say.Blocked(server_rank=0))
    assert isinstance(command.message, say.Welcome)


def test_a_second_hello_of_a_job_that_has_a_simulation_is_ignored() -> None:
    study = Study(**only_training(1)).started().greeted()
    study.assigned()
    assert study.hear(say.Hello(num_ranks=2, host="h", pid=1), "job-0001") == ()
    assert study.ended("job-0001", "killed") == (do.SubmitJobs(jobs=("job-0002",)),)
    assert study.greeted("job-0002").assigned("job-0002").attempt == 2


def test_an_unknown_job_is_refused() -> None:
    (command,) = Study().started().hear(say.Hello(num_ranks=2, host="h", pid=1), "job-0099")
    assert isinstance(command.message, say.Refused)


def submitting(max_jobs: int) -> tuple[do.Command, ...]:
    study = Study(max_jobs=max_jobs)
    study.on(STARTED)
    return study.ready()


def test_never_more_jobs_than_allowed_nor_than_there_is_work_for() -> None:
    for max_jobs, expected in ((2, 2), (50, 3)):
        submitted = [
            name for command in submitting(max_jobs) if isinstance(command, do.SubmitJobs) for name in command.jobs
        ]
        assert len(submitted) == expected


def test_after_the_verdict_nothing_more_is_wanted() -> None:
    study = Study().started().greeted()
    study.on(ev.Interrupted(reason="interrupted by SIGINT"))
    assert study.state.outcome == "stopped"
    assert study.requests("job-0001") == ()
    assert study.state.next_deadline() is None


def test_replaying_the_journal_gives_the_same_state(tmp_path) -> None:
    study, events = Study(answers=False), []
    delivery = say.Delivery(simulation=0, attempt=1, steps=(0,), num_parts=2)
    events += [STARTED, ev.ParametersDrawn(purpose=Purpose.VALIDATION, parameters=((0.5,),))]
    events += [ev.Said(address=SERVER, message=say.ServerHello(endpoint="e", host="h", pid=1, device="cpu"))]
    events += [ev.JobsSubmitted(handles={JOB: "42"}), ev.JobStarted(job=JOB)]
    events += [ev.Said(address=RANK_0, message=say.Hello(num_ranks=2, host="h", pid=1))]
    events += [ev.Said(address=RANK_0, message=say.Request())]
    events += [ev.Said(address=SERVER, message=say.Progress(deliveries=(delivery,)))]
    events += [ev.JobEnded(job=JOB, exit_code=9, message="killed by SIGKILL")]
    with Journal(tmp_path) as journal:
        for number, event in enumerate(events):
            study.on(event, after=1.0)
            journal.append(Entry(at_s=float(number + 1), event=event))
    again = StudyState(SETTINGS)
    for entry in read_journal(tmp_path):
        again.handle(entry.event, entry.at_s)
    assert again.ledger.samples.delivered_of(0) == study.state.ledger.samples.delivered_of(0) == Ranges([(0, 1)])
    assert list(again.ledger.waiting) == list(study.state.ledger.waiting) == [0]
    assert again.next_deadline() == study.state.next_deadline()


def test_a_torn_last_line_of_the_journal_is_ignored(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(Entry(at_s=0.0, event=STARTED))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at_s":1.0,"eve')
    assert [entry.event for entry in read_journal(tmp_path)] == [STARTED]


def test_jobs_that_asked_before_the_server_was_ready_are_answered_when_it_is() -> None:
    study = Study(max_jobs=2, num_server_ranks=2)
    study.on(STARTED)
    study.ready(0)
    for job in ("job-0001", "job-0002"):
        study.greeted(job)
        assert study.requests(job) == ()
    told = [c.address for c in study.ready(1) if isinstance(c, do.Tell) and isinstance(c.message, say.Assignment)]
    assert told == [ClientRank("job-0001"), ClientRank("job-0002")]


def test_the_list_grows_a_little_ahead_of_the_jobs_held_out_simulations_first() -> None:
    study = Study(answers=False, num_simulations=20, num_validation_simulations=3, max_jobs=2)
    (_, question) = study.on(STARTED)
    assert question == do.AskParameters(purpose=Purpose.VALIDATION, first=0, num=3)
    rows = ((0.0,), (1.0,), (2.0,))
    assert study.on(ev.ParametersDrawn(purpose=Purpose.VALIDATION, parameters=rows)) == ()
    assert study.ready()[-1] == do.SubmitJobs(jobs=("job-0001", "job-0002"))
    study.greeted()
    _, question = study.requests()
    assert question == do.AskParameters(purpose=Purpose.TRAINING, first=3, num=2)
    study.greeted("job-0002")
    assert kinds(study.requests("job-0002")) == ["Tell"]  # one question at a time
    study.on(ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((3.0,), (4.0,))))
    assert len(study.state.ledger.waiting) == 3


def test_a_job_waits_for_a_sampler_and_is_not_sent_away() -> None:
    study = Study(answers=False, **only_training(4))
    study.on(STARTED)
    study.on(ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((0.0,), (1.0,))))
    study.ready()
    study.greeted()
    for _ in range(2):
        given = study.assigned()
        study.delivered(given)
        study.sent(given)
    assert study.requests() == ()
    answer = ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((2.0,),))
    (told,) = [c for c in study.on(answer) if isinstance(c, do.Tell)]
    assert told.message.parameters == (2.0,)


def test_a_sampler_that_gives_fewer_closes_the_list() -> None:
    study = Study(answers=False, **only_training(4))
    study.on(STARTED)
    study.on(ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((0.0,),)))
    closed = do.Tell(address=SERVER, message=say.ListClosed(num_simulations=1))
    assert closed in study.ready()
    study.greeted()
    given = study.assigned()
    study.delivered(given)
    commands = study.sent(given)
    assert commands[-1] == do.Tell(address=SERVER, message=say.ReceptionOver(num_samples=2))
    assert (study.state.num_simulations, study.state.samples_expected) == (1, 2)
    assert study.requests() == (tell(JOB, FINISH),)


def test_a_sampler_that_fails_ends_the_study() -> None:
    study = Study(answers=False)
    study.on(STARTED)
    study.on(ev.SamplingFailed(message="no such file"))
    assert study.state.outcome == "failed"
    assert "no such file" in study.state.reason


def test_all_ranks_are_told_the_rendezvous_when_rank_0_has_opened_it() -> None:
    study = Study(num_server_ranks=3)
    study.on(STARTED)
    assert study.ready(1) == ()
    told = [command.address for command in study.ready(0) if isinstance(command, do.Tell)]
    assert told == [ServerRank(1), ServerRank(0)]
    assert [command.address for command in study.ready(2)] == [ServerRank(2)]


def test_without_held_out_simulations_nothing_is_said_of_them() -> None:
    assert HELD_OUT_OVER not in Study(**only_training(2)).started().on(ev.Tick())


def test_the_books_count_windows_where_a_task_needs_them() -> None:
    study = Study(num_steps=5, **only_training(2))
    study.on(STARTED)
    study.server(say.ServerHello(endpoint="e", host="h", pid=1, device="cpu", window=Window(length=2)))
    study.greeted()
    given = study.assigned()
    (command,) = study.hear(say.Blocked(server_rank=0), rank=1)
    assert command.message.routing == Routing.TRAJECTORY
    study.delivered(given, steps=(0, 1, 2))
    assert study.state.samples_expected == 8
    study.ended()
    again = study.greeted("job-0002").assigned("job-0002")
    assert again.delivered_steps == ((0, 3),)
    study.delivered(again, steps=(3,))
    study.sent(again, num_steps=5, job="job-0002")
    assert study.state.ledger.num_complete == 1


def test_windows_of_steps_that_are_numbered_otherwise_end_the_study_and_say_so() -> None:
    study = Study(num_steps=5, **only_training(1))
    study.on(STARTED)
    study.server(say.ServerHello(endpoint="e", host="h", pid=1, device="cpu", window=Window(length=2)))
    given = study.greeted().assigned()
    study.delivered(given, steps=(1, 2, 3))  # of the steps 1 to 5
    study.sent(given, num_steps=5)
    assert study.state.outcome == "failed"
    assert "the first at time step 0: a field is missing" in study.state.reason
    assert "or its time steps are not numbered 0, 1, 2, ..., as those of windows must be" in study.state.reason


def test_what_half_formed_windows_hold_is_not_sent_again_as_long_as_the_server_lives() -> None:
    study = Study(num_steps=8, **only_training(1), max_server_restarts=1)
    study.on(STARTED)
    hello = say.ServerHello(endpoint="e", host="h", pid=1, device="cpu", window=Window(length=4))
    study.server(hello)
    study.greeted()
    given = study.assigned()
    delivery = say.Delivery(simulation=0, attempt=1, steps=(0,), num_parts=5, held=(1, 2, 3, 4))
    study.server(say.Progress(deliveries=(delivery,)))
    study.ended()
    again = study.greeted("job-0002").assigned("job-0002")
    assert again.delivered_steps == ((0, 5),)
    study.state.ledger.end_attempts()
    assert study.state.ledger.samples.steps_not_needed(given.simulation, 8) == ((0, 1),)


def test_a_scheduler_that_will_never_take_a_job_ends_the_study_at_once() -> None:
    study = Study(max_failed_starts=50).started()
    study.on(ev.JobEnded(job=JOB, exit_code=None, message="no such partition", retry=False))
    assert study.state.outcome == "failed"
    assert "no such partition" in study.state.reason


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((0, 1, 3), "1 of its samples are incomplete although every part arrived, the first at time step 2: a field"),
        ((0, 1, 2), "arrived, the first at time step 3: a field"),
        ((10, 20, 40), "1 of its samples are incomplete although every part arrived: a field is missing"),
        ((), "4 of its samples are incomplete although every part arrived: a field is missing"),
    ],
)
def test_a_gap_ends_the_study_with_its_first_step_and_is_not_tried_again(steps: tuple[int, ...], words: str) -> None:
    study = Study(num_steps=4).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=steps, parts=8)
    commands = study.sent(given, parts=8, num_steps=4)
    assert kinds(commands)[-1] == "EndStudy"
    assert study.state.outcome == "failed"
    assert words in study.state.reason
    assert study.state.ledger.num_restarts == 0


@pytest.mark.parametrize(
    ("num_steps", "window", "words"),
    [
        (0, None, "the solver ended in job-0001 before its first time step"),
        (0, Window(length=3), "before its first time step"),
        (2, Window(length=3), "after 2 time steps, but a sample needs 3: let it send as many, or shorten the window"),
        (4, Window(length=3, stride=2), "after 4 time steps, but a sample needs 5"),
    ],
)
def test_a_simulation_without_a_sample_fails_and_says_why(num_steps: int, window: Window | None, words: str) -> None:
    study = Study(num_steps=None, **only_training(1), max_attempts=1).started().greeted()
    hello = say.ServerHello(endpoint="tcp://s0", host="h", pid=1, device="cpu", window=window)
    study.server(hello)
    study.sent(study.assigned(), parts=num_steps, num_steps=num_steps)
    assert study.state.outcome == "failed"
    assert study.state.reason.startswith("its only simulation failed: attempt 1 given to job-0001")
    assert words in study.state.reason


def test_some_simulations_without_a_step_cost_no_study() -> None:
    study = Study(num_steps=None, **only_training(2), max_attempts=1).started().greeted()
    study.sent(study.assigned(), parts=0, num_steps=0)
    given = study.assigned()
    study.sent(given)
    study.delivered(given)
    assert study.state.reception_over
    assert (study.state.ledger.num_given_up, study.state.ledger.num_complete) == (1, 1)
    assert study.state.samples_expected == study.state.ledger.samples.num_delivered == 2


def test_the_server_ranks_are_told_once_how_the_steps_of_a_simulation_are_numbered() -> None:
    study = Study(num_steps=None, num_server_ranks=2).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(2_000_000, 1_000_000), parts=2)
    assert study.step_ranges == []
    study.sent(given, parts=(2, 0))
    assert study.step_ranges == [(1_000_000, 2_000_000)] * 2
    again = study.assigned()
    study.delivered(again, steps=(7,), parts=1)
    study.sent(again, parts=(1, 0), num_steps=1)
    assert len(study.step_ranges) == 2


def test_a_study_whose_simulations_are_all_given_up_tells_of_the_steps_that_came() -> None:
    study = Study(**only_training(2), num_steps=None, max_attempts=1, max_failed_fraction=1.0).started().greeted()
    study.delivered(study.assigned(), steps=(30, 10), parts=2)
    study.ended()
    study.greeted("job-0002").assigned("job-0002")
    last = study.ended("job-0002")
    assert study.step_ranges == [(10, 30)]
    assert last[-1] == do.Tell(address=SERVER, message=say.ReceptionOver(num_samples=2))
