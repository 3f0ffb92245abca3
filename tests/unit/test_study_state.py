"""The study as a table of events and the commands they lead to."""

from dataclasses import replace

import pytest

from melissa_like.records import Purpose
from melissa_like.study import Entry, Journal, StudySettings, StudyState, read_journal
from melissa_like.study import commands as do
from melissa_like.study import events as ev

SETTINGS = StudySettings(
    purposes=(Purpose.TRAINING, Purpose.TRAINING, Purpose.VALIDATION),
    parameters=("a",),
    num_steps=2,
    num_ranks=2,
    max_jobs=1,
    max_attempts=2,
    max_failed_starts=2,
    max_failed_fraction=0.5,
    step_timeout_s=100.0,
    delivery_timeout_s=10.0,
    start_timeout_s=50.0,
)


def draw(simulation: int) -> dict[str, float]:
    return {"a": float(10 + simulation)}


class Study:
    """A state and its clock, spoken to in short sentences."""

    def __init__(self, **changes: object) -> None:
        self.state = StudyState(replace(SETTINGS, **changes), draw)
        self.now = 0.0

    def on(self, event: ev.Event, after: float = 0.0) -> tuple[do.Command, ...]:
        self.now += after
        return self.state.handle(event, self.now)

    def started(self) -> "Study":
        self.on(ev.StudyStarted())
        for rank in range(self.state.settings.num_server_ranks):
            self.on(ev.ServerReady(rank=rank))
        return self

    def greeted(self, job: str = "job-0001") -> "Study":
        self.on(ev.JobStarted(job=job))
        self.on(ev.JobSaidHello(job=job, num_ranks=2))
        return self

    def assigned(self, job: str = "job-0001") -> do.Assign:
        (command,) = self.on(ev.JobRequested(job=job))
        assert isinstance(command, do.Assign)
        return command

    def sent(self, given: do.Assign, parts: int = 4, num_steps: int = 2) -> tuple[do.Command, ...]:
        return self.on(
            ev.SimulationSent(
                job=given.job,
                simulation=given.simulation,
                attempt=given.attempt,
                num_steps=num_steps,
                parts_sent=(parts,),
            )
        )

    def delivered(self, given: do.Assign, steps: tuple[int, ...] = (0, 1), parts: int = 4) -> tuple[do.Command, ...]:
        return self.on(
            ev.Delivered(rank=0, simulation=given.simulation, attempt=given.attempt, steps=steps, num_parts=parts)
        )


def kinds(commands: tuple[do.Command, ...]) -> list[str]:
    return [type(command).__name__ for command in commands]


def test_jobs_start_while_the_server_does_and_are_welcomed_when_it_is_ready() -> None:
    study = Study()
    assert kinds(study.on(ev.StudyStarted())) == ["StartServer", "SubmitJob"]
    assert kinds(study.on(ev.JobStarted(job="job-0001"))) == []
    assert kinds(study.on(ev.JobSaidHello(job="job-0001", num_ranks=2))) == []
    assert kinds(study.on(ev.JobRequested(job="job-0001"))) == []
    assert kinds(study.on(ev.ServerReady(rank=0))) == ["WelcomeJob", "Assign"]


def test_held_out_simulations_run_first_with_their_own_parameters() -> None:
    given = Study().started().greeted().assigned()
    assert (given.simulation, given.attempt, given.purpose, given.parameters) == (2, 1, Purpose.VALIDATION, (12.0,))


def test_a_send_is_not_a_delivery() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    assert study.delivered(given, steps=(0,), parts=2) == ()
    assert study.sent(given) == ()
    assert study.state.simulations.num_complete == 0
    assert study.delivered(given, steps=(1,), parts=2) == (do.AnnounceSimulationOver(simulation=2),)


def test_the_whole_study_completes_once_every_server_rank_has_trained() -> None:
    study = Study().started().greeted()
    for _ in range(3):
        given = study.assigned()
        study.delivered(given)
        last = study.sent(given)
    assert last[-1] == do.AnnounceReceptionOver(num_samples=4)
    assert study.on(ev.JobRequested(job="job-0001")) == (do.FinishJob(job="job-0001"),)
    assert study.on(ev.JobEnded(job="job-0001", exit_code=0, message="exit code 0")) == ()
    assert kinds(study.on(ev.ServerTrained(rank=0, end="drained"))) == ["EndStudy"]
    assert study.state.outcome == "completed"


def test_a_dead_job_leads_to_another_attempt_with_the_same_parameters_and_without_delivered_steps() -> None:
    study = Study().started().greeted()
    first = study.assigned()
    study.delivered(first, steps=(0,), parts=2)
    commands = study.on(ev.JobEnded(job="job-0001", exit_code=9, message="killed by SIGKILL"))
    assert commands == (do.SubmitJob(job="job-0002"),)
    again = study.greeted("job-0002").assigned("job-0002")
    assert (again.simulation, again.attempt, again.parameters) == (first.simulation, 2, first.parameters)
    assert again.delivered_steps == (0,)


def test_reports_of_an_older_attempt_count_as_delivered_but_not_as_its_parts() -> None:
    study = Study().started().greeted()
    first = study.assigned()
    study.on(ev.JobEnded(job="job-0001", exit_code=1, message="exit code 1"))
    again = study.greeted("job-0002").assigned("job-0002")
    study.delivered(first, steps=(0,), parts=2)
    assert study.sent(again, parts=2) == ()
    assert study.delivered(again, steps=(1,), parts=2) == (do.AnnounceSimulationOver(simulation=2),)


def test_too_many_failures_end_the_study_with_the_story() -> None:
    study = Study(max_failed_fraction=0.0).started()
    for number in (1, 2):
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        ended = ev.JobEnded(job=job, exit_code=7, message="exit code 7", log_tail="boom")
        commands = study.on(ended)
    assert isinstance(commands[-1], do.EndStudy)
    assert commands[-1].outcome == "failed"
    for word in ("simulation 2", "exit code 7", "boom", "launcher.max_failed_fraction"):
        assert word in commands[-1].reason


def failing(study: Study, delivers: tuple[int, ...] = ()) -> int:
    """Jobs until the verdict, if every job is given a simulation and dies."""
    for number in range(1, 1000):
        job = f"job-{number:04d}"
        given = study.greeted(job).assigned(job)
        if delivers:
            study.delivered(given, steps=delivers, parts=2)
        study.on(ev.JobEnded(job=job, exit_code=7, message="exit code 7", log_tail="no licence"))
        if study.state.outcome is not None:
            return number
    raise AssertionError("the study has not ended")


def test_a_solver_that_always_dies_is_stopped_after_a_few_jobs_in_a_study_of_any_size() -> None:
    default = {"purposes": (Purpose.TRAINING,) * 105, "max_attempts": 3, "max_failed_fraction": 0.1}
    study = Study(**default, max_failed_starts=3).started()
    assert failing(study) == 3
    assert study.state.outcome == "failed"
    for word in ("3 attempts failed before a single sample", "simulation 0", "exit code 7", "no licence"):
        assert word in study.state.reason
    assert failing(Study(**default, max_failed_starts=3).started(), delivers=(0,)) == 33


def test_a_first_wave_of_jobs_that_is_killed_together_does_not_end_the_study() -> None:
    study = Study(purposes=(Purpose.TRAINING,) * 8, max_jobs=4, max_attempts=3, max_failed_starts=3).started()
    jobs = [f"job-{number:04d}" for number in range(1, 5)]
    for job in jobs:
        study.greeted(job).assigned(job)
    for job in jobs:
        study.on(ev.JobEnded(job=job, exit_code=9, message="exit code 9"))
    assert study.state.outcome is None


def test_a_given_up_simulation_is_counted_and_the_study_goes_on() -> None:
    study = Study(purposes=(Purpose.TRAINING,) * 3, max_attempts=1).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    commands = study.on(ev.JobEnded(job="job-0001", exit_code=1, message="exit code 1"))
    assert kinds(commands) == ["AnnounceSimulationOver", "SubmitJob"]
    assert commands[0] == do.AnnounceSimulationOver(simulation=0, samples_given_up=1)
    ledger = study.state.simulations
    assert (ledger.num_given_up, ledger.samples_given_up, ledger.samples_delivered) == (1, 1, 1)
    assert study.state.outcome is None


def test_of_a_complete_simulation_only_the_count_is_kept_and_duplicates_do_not_change_it() -> None:
    study = Study(purposes=(Purpose.TRAINING,) * 2).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    assert not study.state.simulations[0].delivered
    study.delivered(given)
    ledger = study.state.simulations
    assert (ledger.num_complete, ledger.samples_delivered, ledger.samples_expected(None)) == (1, 2, 2)


def test_a_sample_that_is_completed_after_its_simulation_was_given_up_counts_as_delivered() -> None:
    study = Study(purposes=(Purpose.TRAINING,) * 3, max_attempts=1).started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    study.on(ev.JobEnded(job="job-0001", exit_code=1, message="exit code 1"))
    study.delivered(given, steps=(1,), parts=2)
    study.delivered(given, steps=(1,), parts=2)
    ledger = study.state.simulations
    assert (ledger.num_given_up, ledger.samples_given_up, ledger.samples_delivered) == (1, 0, 2)
    assert ledger.samples_expected(2) == 6


def test_a_study_without_a_single_sample_has_failed() -> None:
    study = Study(max_failed_fraction=1.0, max_attempts=1, max_failed_starts=4).started()
    for number in (1, 2, 3):
        job = f"job-{number:04d}"
        study.greeted(job).assigned(job)
        last = study.on(ev.JobEnded(job=job, exit_code=1, message="exit code 1"))
    assert kinds(last) == ["AnnounceSimulationOver", "EndStudy"]
    assert study.state.outcome == "failed"
    assert "none of the 3 simulations delivered a sample" in study.state.reason


def test_the_verdict_of_a_completed_study_tells_of_simulations_given_up() -> None:
    study = Study(max_failed_fraction=1.0, max_attempts=1).started().greeted()
    study.assigned()
    study.on(ev.JobEnded(job="job-0001", exit_code=1, message="exit code 1"))
    study.greeted("job-0002")
    for _ in range(2):
        given = study.assigned("job-0002")
        study.delivered(given)
        study.sent(given)
    study.on(ev.ServerTrained(rank=0, end="drained"))
    assert study.state.outcome == "completed"
    assert study.state.reason == "every delivered sample was trained on; 1 of 3 simulations were given up"


def test_jobs_that_end_before_hello_are_limited_whatever_their_exit_code() -> None:
    study = Study().started()
    assert study.on(ev.JobEnded(job="job-0001", exit_code=0, message="exit code 0")) == (do.SubmitJob(job="job-0002"),)
    commands = study.on(ev.JobEnded(job="job-0002", exit_code=0, message="exit code 0", log_tail="no licence"))
    assert kinds(commands) == ["EndStudy"]
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
    assert study.on(ev.JobEnded(job="job-0001", exit_code=None, message="canceled")) == (do.SubmitJob(job="job-0002"),)
    assert study.state.simulations[2].attempt == 1


def test_back_pressure_stops_the_clocks() -> None:
    study = Study().started().greeted()
    study.assigned()
    study.on(ev.PressureChanged(rank=0, put_waits=True))
    assert study.state.next_deadline() is None
    assert study.on(ev.Tick(), after=1e6) == ()
    study.on(ev.PressureChanged(rank=0, put_waits=False))
    assert study.state.next_deadline() == pytest.approx(study.now + 100.0)


def test_parts_that_never_arrive_after_goodbye_fail_the_attempt() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.delivered(given, steps=(0,), parts=2)
    study.sent(given)
    assert study.on(ev.Tick(), after=11.0) == ()
    again = study.assigned()
    assert (again.simulation, again.attempt, again.delivered_steps) == (given.simulation, 2, (0,))


def test_a_job_that_hangs_after_its_goodbye_gives_its_place_to_another() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    assert study.on(ev.Tick(), after=99.0) == ()
    assert study.state.next_deadline() == study.now + 1.0
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)
    assert study.state.next_deadline() is None
    again = study.on(ev.JobEnded(job="job-0001", exit_code=None, message="canceled"))
    assert again == (do.SubmitJob(job="job-0002"),)
    assert study.state.simulations.num_restarts == 0


def test_a_retry_does_not_wait_for_a_program_that_runs_one_simulation_only() -> None:
    study = Study(purposes=(Purpose.TRAINING,) * 2, max_jobs=2).started().greeted().greeted("job-0002")
    study.sent(study.assigned())
    study.assigned("job-0002")
    ended = study.on(ev.JobEnded(job="job-0002", exit_code=9, message="killed by SIGKILL"))
    assert ended == (do.SubmitJob(job="job-0003"),)


def test_a_job_that_hangs_after_it_told_of_a_failure_gives_its_place_to_another() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    failure = ev.SimulationFailed(
        job="job-0001",
        simulation=given.simulation,
        attempt=1,
        message="it diverged",
        breaks_contract=False,
    )
    assert study.on(failure) == ()
    assert study.on(ev.JobBlocked(job="job-0001", rank=1))[0] == do.ReleaseRank(
        job="job-0001", rank=1, reason="the study has given up this job"
    )
    assert study.on(ev.Tick(), after=9.0) == ()
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)
    assert study.on(ev.Tick(), after=1.0) == ()
    again = study.on(ev.JobEnded(job="job-0001", exit_code=None, message="canceled"))
    assert again == (do.SubmitJob(job="job-0002"),)


def test_a_finished_job_that_hangs_does_not_keep_another_attempt_from_running() -> None:
    study = Study(purposes=(Purpose.TRAINING,), delivery_timeout_s=10.0, step_timeout_s=20.0).started().greeted()
    study.sent(study.assigned())
    assert study.on(ev.JobRequested(job="job-0001")) == (do.FinishJob(job="job-0001"),)
    assert study.on(ev.Tick(), after=10.0) == ()  # the parts never came: the simulation waits for a free place
    assert study.on(ev.Tick(), after=10.0) == (do.CancelJob(job="job-0001"),)
    assert study.on(ev.JobEnded(job="job-0001", exit_code=None, message="canceled")) == (do.SubmitJob(job="job-0002"),)


def test_a_job_that_says_hello_and_nothing_more_is_a_failed_start() -> None:
    study = Study(max_failed_starts=1).started().greeted()
    commands = study.on(ev.Tick(), after=100.0)
    assert kinds(commands) == ["CancelJob", "EndStudy"]
    assert "neither asked for a simulation nor ended for 100 s" in study.state.reason


def test_back_pressure_excuses_a_job_that_still_has_to_send() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.sent(given)
    study.on(ev.PressureChanged(rank=0, put_waits=True))
    assert study.on(ev.Tick(), after=1000.0) == ()
    study.on(ev.PressureChanged(rank=0, put_waits=False))
    study.delivered(given)
    assert study.on(ev.Tick(), after=99.0) == ()
    assert study.on(ev.Tick(), after=1.0) == (do.CancelJob(job="job-0001"),)


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
    assert study.sent(given, parts=6, num_steps=3) == (do.AnnounceSimulationOver(simulation=2),)


def test_a_world_of_another_size_ends_the_study_with_the_reason() -> None:
    study = Study().started()
    study.on(ev.JobStarted(job="job-0001"))
    study.on(ev.JobSaidHello(job="job-0001", num_ranks=1))
    assert study.state.outcome == "failed"
    assert "world of 1 ranks" in study.state.reason


def test_a_broken_contract_ends_the_study_with_the_solvers_mistake() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.on(
        ev.PartRejected(
            rank=0, simulation=given.simulation, attempt=1, message="field 'pressure' ...", breaks_contract=True
        )
    )
    assert study.state.outcome == "failed"
    assert "field 'pressure'" in study.state.reason


def test_a_lost_message_fails_the_attempt_and_not_the_study() -> None:
    study = Study(purposes=(Purpose.TRAINING,)).started().greeted()
    given = study.assigned()
    lost = ev.PartRejected(rank=0, simulation=0, attempt=1, message="no OPEN came", breaks_contract=False)
    assert study.on(lost) == (do.CancelJob(job="job-0001"),)
    assert study.on(lost) == ()
    assert study.on(ev.JobEnded(job="job-0001", exit_code=None, message="canceled")) == (do.SubmitJob(job="job-0002"),)
    again = study.greeted("job-0002").assigned("job-0002")
    assert (given.attempt, again.attempt) == (1, 2)
    assert study.on(lost) == ()
    assert "no OPEN came" in study.state.simulations[0].told()


def test_a_dead_server_rank_ends_the_study() -> None:
    study = Study().started().greeted()
    study.assigned()
    commands = study.on(ev.ServerEnded(rank=0, message="killed by SIGKILL"))
    assert kinds(commands) == ["StopJob", "EndStudy"]
    assert "killed by SIGKILL" in study.state.reason


def test_a_server_that_is_never_ready_ends_the_study() -> None:
    study = Study()
    study.on(ev.StudyStarted())
    study.on(ev.Tick(), after=51.0)
    assert "launcher.start_timeout_s" in study.state.reason


def test_training_that_ends_early_stops_the_jobs() -> None:
    study = Study().started().greeted()
    study.assigned()
    assert kinds(study.on(ev.ServerTrained(rank=0, end="max_batches"))) == ["StopJob", "EndStudy"]
    assert study.state.outcome == "stopped"
    assert study.state.reason == "training.max_batches was reached before all simulations had run"


def test_a_study_is_only_completed_if_every_server_rank_drained_its_buffer() -> None:
    study = Study(purposes=(Purpose.TRAINING,), num_server_ranks=2).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.on(
        ev.SimulationSent(job=given.job, simulation=0, attempt=1, num_steps=2, parts_sent=(4, 0)),
    )
    assert study.on(ev.ServerTrained(rank=0, end="drained")) == ()
    study.on(ev.ServerTrained(rank=1, end="max_batches"))
    assert study.state.outcome == "stopped"
    assert study.state.reason == "training.max_batches was reached before every delivered sample was trained on"


def test_a_blocked_rank_is_told_where_the_server_is_or_that_it_must_end() -> None:
    study = Study().started().greeted()
    study.assigned()
    assert study.on(ev.JobBlocked(job="job-0001", rank=1)) == (do.WelcomeJob(job="job-0001", rank=1),)
    (command,) = study.on(ev.JobBlocked(job="job-0099", rank=1))
    assert isinstance(command, do.ReleaseRank)


def test_a_job_that_is_told_to_finish_may_wait_until_everything_is_sent() -> None:
    study = Study(purposes=(Purpose.TRAINING,)).started().greeted()
    study.sent(study.assigned())
    assert kinds(study.on(ev.JobRequested(job="job-0001"))) == ["FinishJob"]
    assert study.on(ev.JobBlocked(job="job-0001", rank=0)) == (do.WelcomeJob(job="job-0001", rank=0),)


def test_a_second_hello_of_a_job_that_has_a_simulation_is_ignored() -> None:
    study = Study(purposes=(Purpose.TRAINING,)).started().greeted()
    study.assigned()
    assert study.on(ev.JobSaidHello(job="job-0001", num_ranks=2)) == ()
    assert study.on(ev.JobEnded(job="job-0001", exit_code=9, message="killed")) == (do.SubmitJob(job="job-0002"),)
    assert study.greeted("job-0002").assigned("job-0002").attempt == 2


def test_an_unknown_job_is_refused() -> None:
    (command,) = Study().started().on(ev.JobSaidHello(job="job-0099", num_ranks=2))
    assert isinstance(command, do.RefuseJob)


def test_never_more_jobs_than_allowed_nor_than_there_is_work_for() -> None:
    assert kinds(Study(max_jobs=2).on(ev.StudyStarted())).count("SubmitJob") == 2
    assert kinds(Study(max_jobs=50).on(ev.StudyStarted())).count("SubmitJob") == 3


def test_after_the_verdict_nothing_more_is_wanted() -> None:
    study = Study().started().greeted()
    study.on(ev.Interrupted(reason="interrupted by SIGINT"))
    assert study.state.outcome == "stopped"
    assert study.on(ev.JobRequested(job="job-0001")) == ()
    assert study.state.next_deadline() is None


def test_replaying_the_journal_gives_the_same_state(tmp_path) -> None:
    study = Study().started()
    events: list[ev.Event] = [ev.StudyStarted(), ev.ServerReady(rank=0), ev.JobStarted(job="job-0001")]
    events += [ev.JobSaidHello(job="job-0001", num_ranks=2), ev.JobRequested(job="job-0001")]
    events += [ev.Delivered(rank=0, simulation=2, attempt=1, steps=(0,), num_parts=2)]
    events += [ev.JobEnded(job="job-0001", exit_code=9, message="killed by SIGKILL")]
    study = Study()
    with Journal(tmp_path) as journal:
        for number, event in enumerate(events):
            study.on(event, after=1.0)
            journal.append(Entry(at_s=float(number + 1), event=event))
    again = StudyState(SETTINGS, draw)
    for entry in read_journal(tmp_path):
        again.handle(entry.event, entry.at_s)
    assert again.simulations[2].delivered == study.state.simulations[2].delivered == {0}
    assert list(again.simulations.waiting) == list(study.state.simulations.waiting)
    assert again.next_deadline() == study.state.next_deadline()


def test_a_torn_last_line_of_the_journal_is_ignored(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(Entry(at_s=0.0, event=ev.StudyStarted()))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at_s":1.0,"eve')
    assert [entry.event for entry in read_journal(tmp_path)] == [ev.StudyStarted()]


def test_a_clock_that_moved_on_is_looked_at_again_and_still_runs_out() -> None:
    study = Study().started().greeted()
    given = study.assigned()
    study.on(ev.Delivered(rank=0, simulation=given.simulation, attempt=1, steps=(0,), num_parts=2), after=90.0)
    assert study.on(ev.Tick(), after=10.0) == ()
    assert study.state.next_deadline() == pytest.approx(study.now + 90.0)
    assert do.CancelJob(job="job-0001") in study.on(ev.Tick(), after=90.0)


def test_a_goodbye_shortens_the_clock_of_a_simulation() -> None:
    study = Study().started().greeted()
    study.sent(study.assigned())
    assert study.state.next_deadline() == pytest.approx(study.now + 10.0)


def test_jobs_that_asked_before_the_server_was_ready_are_answered_when_it_is() -> None:
    study = Study(max_jobs=2)
    study.on(ev.StudyStarted())
    for job in ("job-0001", "job-0002"):
        study.greeted(job)
        assert study.on(ev.JobRequested(job=job)) == ()
    commands = study.on(ev.ServerReady(rank=0))
    assert [c.job for c in commands if isinstance(c, do.Assign)] == ["job-0001", "job-0002"]
