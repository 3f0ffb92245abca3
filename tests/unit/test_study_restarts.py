"""What follows when server ranks are lost, or another launcher goes on with a study."""

from dataclasses import replace

import pytest

from melissa_like.protocol import control as say
from melissa_like.protocol.reports import Summary
from melissa_like.records import Purpose, ServerRank
from melissa_like.study import SimulationState
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from tests.unit.studied import (
    JOB,
    SERVER,
    STARTED,
    Study,
    kinds,
    only_training,
)


def test_a_server_that_may_be_restarted_is_and_what_it_held_is_due_again() -> None:
    study = Study(max_server_restarts=1, **only_training(3)).started().greeted()
    first = study.assigned()
    study.delivered(first)
    study.sent(first)
    second = study.assigned()
    study.delivered(second, steps=(0,), parts=2)
    commands = study.on(ev.ServerEnded(address=SERVER, message="killed by SIGKILL"))
    assert commands[:2] == (do.CancelJob(job=JOB), do.StartServers(incarnation=2, tried=True))
    ledger = study.state.ledger
    assert (ledger.num_complete, ledger.samples.num_delivered) == (1, 3)  # until it is known what is left
    assert study.ready() == (
        do.Tell(address=ServerRank(0, 2), message=say.ServerWelcome(rendezvous="h:1", wants_losses=False)),
    )
    assert study.restored() == (
        do.Tell(address=ServerRank(0, 2), message=say.Standing(num_over=0, samples_given_up=0)),
    )
    assert (ledger.num_complete, ledger.samples.num_delivered) == (0, 0)
    assert {ledger.state_of(i) for i in range(3)} == {SimulationState.WAITING}
    stale = say.Delivery(simulation=0, attempt=1, steps=(0, 1), num_parts=4)
    study.on(ev.Said(address=SERVER, message=say.Progress(deliveries=(stale,))))
    assert ledger.samples.num_delivered == 0
    study.ended(message="canceled")
    given = study.greeted("job-0002").assigned("job-0002")
    assert (given.delivered_steps, given.parameters) == ((), (10.0 + given.simulation,))
    study.on(ev.ServerEnded(address=ServerRank(0, 2), message="killed by SIGKILL"))
    assert study.state.outcome == "failed"
    assert study.state.reason == (
        "after 1 restart of the server ranks without a checkpoint of more training steps in between, server rank 0 "
        "ended: killed by SIGKILL"
    )


def let_go(message: str = "its scheduler has sent SIGUSR1, its job ends soon") -> ev.Said:
    return ev.Said(address=SERVER, message=say.EndIsNear(message=message))


def finished(rank: int = 0) -> ev.Said:
    return ev.Said(address=ServerRank(rank, 1), message=say.ServerFinished(end="stopped", summary=Summary()))


def test_a_server_whose_job_ends_soon_saves_and_goes_on_in_the_next_which_is_no_failure() -> None:
    study = Study(max_server_restarts=0, **only_training(3)).started().greeted()
    first = study.assigned()
    study.delivered(first)
    study.sent(first)
    study.assigned()
    why = "server rank 0 was to end: its scheduler has sent SIGUSR1, its job ends soon"
    told = do.Tell(address=SERVER, message=say.Stop(reason=why, save_within_s=30.0))
    assert study.on(let_go()) == (do.CancelJob(job=JOB), told)
    assert study.on(let_go()) == ()  # the other ranks of the job are told as well
    assert study.on(ev.Said(address=SERVER, message=say.Checkpointed(number=1, batches=9, nbytes=1))) == ()
    assert study.on(finished()) == ()
    assert study.on(ev.ServerEnded(address=SERVER, message="exit code 0")) == (
        do.StartServers(incarnation=2, tried=True),
    )
    assert (study.state.outcome, list(study.state.server_losses)) == (None, [why])
    study.ended(message="canceled")
    study.ready()
    study.restored(checkpoint=1, over=((0, 1),))
    given = study.greeted("job-0002").assigned("job-0002")
    assert given.simulation == 1
    assert study.state.ledger.failures_of(1) == 0


def test_server_ranks_whose_jobs_are_too_short_to_train_at_all_are_not_started_for_ever() -> None:
    study = Study(max_server_restarts=1, **only_training(3)).started()
    for incarnation in range(1, 33):
        address = ServerRank(0, incarnation)
        assert study.state.outcome is None
        study.on(ev.Said(address=address, message=say.EndIsNear(message="its job ends soon")))
        study.on(ev.ServerEnded(address=address, message="exit code 0"))
        study.ready()
        study.restored()
    assert study.state.outcome == "failed"
    assert study.state.reason.startswith("after 1 restart of the server ranks without a checkpoint of more")


def test_a_server_that_is_killed_while_it_saves_is_no_failure_either() -> None:
    study = Study(max_server_restarts=0, num_server_ranks=2, **only_training(3)).started().greeted()
    study.on(let_go())
    study.on(ev.Said(address=SERVER, message=say.ServerFailed(message="a rank does not answer")))
    (ended, *_) = study.on(ev.ServerEnded(address=ServerRank(1, 1), message="killed by SIGKILL"))
    assert ended == do.EndServers(incarnation=1)
    (started,) = study.on(ev.ServerEnded(address=SERVER, message="canceled"))
    assert started == do.StartServers(incarnation=2, tried=True)


def test_a_server_that_does_not_end_though_it_was_to_is_late() -> None:
    study = Study(**only_training(3)).started().greeted()
    study.on(let_go())
    settings = study.state.settings
    study.on(ev.Tick(), after=settings.save_timeout_s + settings.start_timeout_s - 1.0)
    assert study.state.outcome is None
    study.on(ev.Tick(), after=2.0)
    assert study.state.outcome == "failed"
    assert "what is left of the server ranks did not end" in study.state.reason


def test_server_ranks_that_are_at_their_end_are_not_started_again_for_their_job() -> None:
    study = Study(num_server_ranks=2, **only_training(3)).started().greeted()
    study.on(finished(1))
    assert study.on(let_go()) == ()


def resumed(study: Study, queued: dict[str, str] | None = None, **changes: object) -> tuple[do.Command, ...]:
    settings = replace(study.state.settings, **changes)
    return study.on(ev.Resumed(settings=settings, queued=queued or {}))


def test_another_launcher_starts_the_server_ranks_and_what_they_lack_is_due_again() -> None:
    study = Study(**only_training(3)).started().greeted()
    first = study.assigned()
    study.delivered(first)
    study.sent(first)
    study.assigned()
    assert resumed(study, num_server_ranks=2) == (do.StartServers(incarnation=2),)
    assert not study.state.jobs.alive
    assert do.SubmitJobs(jobs=("job-0002",)) in study.ready(0)
    study.ready(1)
    study.restored(0, checkpoint=1, over=((0, 1),))
    study.restored(1, checkpoint=1)
    given = study.greeted("job-0002").assigned("job-0002")
    assert (given.simulation, given.attempt) == (1, 2)


def test_jobs_that_the_scheduler_has_not_started_stay() -> None:
    study = Study(max_jobs=2, **only_training(3)).started().greeted()
    study.assigned()
    resumed(study, queued={"job-0002": "4242"})
    study.ready()
    study.restored()
    assert {job.name: job.handle for job in study.state.jobs.alive.values()} == {"job-0002": "4242", "job-0003": ""}


def test_a_study_that_was_stopped_goes_on() -> None:
    study = Study(**only_training(1)).started().greeted()
    study.assigned()
    study.on(ev.Interrupted(reason="interrupted by SIGTERM"))
    resumed(study)
    assert (study.state.outcome, study.state.reason) == (None, "")
    study.ready()
    study.restored()
    given = study.greeted("job-0002").assigned("job-0002")
    study.delivered(given)
    study.sent(given, job="job-0002")
    study.trained()
    assert study.state.outcome == "completed"


def test_the_checkpoint_that_the_server_ranks_end_with_is_known() -> None:
    study = Study(**only_training(1)).started()
    study.on(ev.Interrupted(reason="interrupted by SIGTERM"))
    last = say.Checkpointed(number=3, batches=7, nbytes=100)
    assert study.server(last) == ()
    assert study.state.checkpoint == last


def test_more_simulations_may_be_asked_for_of_a_study_that_has_completed() -> None:
    study = Study(**only_training(1)).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    study.trained()
    resumed(study, num_simulations=3)
    study.ready()
    study.restored(checkpoint=1, over=((0, 1),))
    assert study.state.num_simulations == 3
    given = study.greeted("job-0002").assigned("job-0002")
    assert (given.simulation, given.parameters) == (1, (11.0,))


def test_a_list_that_the_sampler_has_closed_stays_so_unless_more_is_wanted() -> None:
    study = Study(answers=False, **only_training(4))
    study.on(STARTED)
    study.on(ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=((0.0,),)))
    assert kinds(resumed(study)) == ["StartServers"]
    assert kinds(resumed(study, num_simulations=5)) == ["StartServers", "AskParameters"]


def test_a_question_to_the_sampler_that_was_not_answered_is_asked_again() -> None:
    study = Study(answers=False, **only_training(4))
    (_, question) = study.on(STARTED)
    assert resumed(study)[-1] == question


def test_server_ranks_may_be_restarted_as_often_again_after_a_resume() -> None:
    study = Study(max_server_restarts=1, **only_training(3)).started()
    killed(study)
    study.ready()
    study.restored()
    resumed(study)
    study.ready()
    study.restored()
    assert kinds(killed(study)) == ["StartServers"]


def test_after_a_resume_a_training_that_begins_anew_makes_progress() -> None:
    """Whoever removes the checkpoints trains anew with the same simulations."""
    study = Study(max_server_restarts=1, **only_training(3)).started()
    study.server(say.Checkpointed(number=0, batches=700, nbytes=100))
    resumed(study)
    for batches in (7, 8):
        study.ready()
        study.restored()
        study.server(say.Checkpointed(number=1, batches=batches, nbytes=100))
        assert kinds(killed(study)) == ["StartServers"]


def killed(study: Study, rank: int = 0) -> tuple[do.Command, ...]:
    address = ServerRank(rank, study.state.server_incarnation)
    return study.on(ev.ServerEnded(address=address, message="killed by SIGKILL"))


def test_every_checkpoint_of_more_training_steps_renews_the_restarts_that_are_allowed() -> None:
    study = Study(max_server_restarts=1, **only_training(3)).started()
    for number in range(3):
        study.server(say.Checkpointed(number=number, batches=7 + number, nbytes=100))
        assert "StartServers" in kinds(killed(study))
        study.ready()
        study.restored(checkpoint=number)
    killed(study)
    assert study.state.outcome == "failed"
    assert study.state.server_incarnation == 4


def test_server_ranks_that_save_what_they_restored_and_die_are_not_started_for_ever() -> None:
    study = Study(max_server_restarts=2, **only_training(3)).started()
    study.server(say.Checkpointed(number=0, batches=7, nbytes=100))
    for batches in (7, 5):  # the same again; and fewer, after the newest one was damaged
        assert "StartServers" in kinds(killed(study))
        study.ready()
        study.restored(checkpoint=0)
        study.server(say.Checkpointed(number=1, batches=batches, nbytes=100))
    killed(study)
    assert study.state.outcome == "failed"
    assert study.state.server_incarnation == 3


def test_server_ranks_that_end_before_they_say_anything_are_started_again_after_a_pause() -> None:
    """A full disk, or a scheduler that does not answer: the restarts must not be used up before it has passed."""
    study = Study(max_server_restarts=3, **only_training(3))
    study.on(STARTED)
    for pause_s in (1.0, 2.0):
        assert killed(study) == ()
        assert study.state.next_deadline() == study.now + pause_s
        assert kinds(study.on(ev.Tick(), after=pause_s)) == ["StartServers"]
    study.ready()
    assert kinds(killed(study)) == ["StartServers"]


def test_a_resume_does_not_wait_for_the_end_of_a_pause() -> None:
    study = Study(max_server_restarts=3, **only_training(3))
    study.on(STARTED)
    killed(study)
    assert resumed(study) == (do.StartServers(incarnation=2),)
    assert kinds(study.on(ev.Tick(), after=1.0)) == []


def test_restored_server_ranks_are_ready_when_all_have_said_what_they_hold() -> None:
    study = Study(max_server_restarts=1, num_server_ranks=2, **only_training(3)).started().greeted()
    first = study.assigned()
    study.delivered(first)
    study.sent(first, parts=(4, 0))
    second = study.assigned()
    study.delivered(second, steps=(0,), parts=2)
    killed(study)
    killed(study, 1)
    study.ended(message="canceled")
    study.ready(0)
    study.ready(1)
    study.greeted("job-0002")
    assert study.requests("job-0002") == ()
    assert study.restored(0, checkpoint=3, over=((0, 1),)) == ()
    assert not study.state.server_ready
    held = (say.HeldSteps(simulation=1, steps=((1, 2),)),)
    told = study.restored(1, checkpoint=3, delivered=held)
    standing = say.Standing(num_over=1, samples_given_up=0)
    assert [command.message for command in told[:2]] == [standing, standing]
    assert isinstance(told[2].message, say.Welcome)
    given = told[3].message
    assert (given.simulation, given.attempt, given.delivered_steps) == (1, 2, ((1, 2),))
    assert study.state.ledger.samples.num_delivered == 3


def test_server_ranks_that_restored_different_checkpoints_end_the_study() -> None:
    study = Study(max_server_restarts=1, num_server_ranks=2, **only_training(3)).started()
    killed(study)
    killed(study, 1)
    study.ready(0)
    study.ready(1)
    study.restored(0, checkpoint=3)
    study.restored(1, checkpoint=None)
    assert study.state.reason == "the server ranks have loaded different checkpoints: ['3', 'None']"


def test_a_checkpoint_of_which_the_journal_knows_nothing_ends_the_study() -> None:
    study = Study(max_server_restarts=1, num_steps=None, **only_training(3)).started()
    killed(study)
    study.ready()
    study.restored(checkpoint=3, over=((0, 2),))
    assert "checkpoint 3 holds simulation 0 to its end" in study.state.reason


def test_a_study_completes_from_a_checkpoint_of_its_whole_reception() -> None:
    study = Study(max_server_restarts=1, **only_training(1)).started().greeted()
    given = study.assigned()
    study.delivered(given)
    study.sent(given)
    assert study.state.reception_over
    killed(study)
    assert not study.state.reception_over
    study.ready()
    told = [command.message for command in study.restored(checkpoint=0, over=((0, 1),))]
    assert told == [say.Standing(num_over=1, samples_given_up=0), say.ReceptionOver(num_samples=2)]
    study.trained()
    assert study.state.outcome == "completed"


def test_a_rank_that_fails_while_others_restore_is_not_judged_before_their_ends_are_known() -> None:
    """It may have raised because another one was killed; the loss must be known first."""
    study = Study(max_server_restarts=2, num_server_ranks=2, **only_training(3)).started()
    killed(study)
    killed(study, 1)
    study.ready(0)
    study.ready(1)
    study.server(say.ServerFailed(message="connection reset by peer"), 0)
    assert study.state.outcome is None
    killed(study, 1)
    assert study.state.outcome is None
    killed(study, 0)
    assert study.state.server_incarnation == 3


@pytest.mark.parametrize(
    "loss",
    [
        ev.ServerEnded(address=SERVER, message="killed by SIGKILL"),
        ev.ServerSilent(address=SERVER, message="it has reported nothing"),
        ev.Said(address=SERVER, message=say.TrainingBlocked(message="its training step 7 has taken more than 600 s")),
    ],
)
def test_the_next_server_ranks_start_when_no_lost_one_is_left(loss: ev.Event) -> None:
    study = Study(max_server_restarts=1, num_server_ranks=2, **only_training(3)).started().greeted()
    given = study.assigned()
    assert study.on(loss) == (do.CancelJob(job=JOB), do.EndServers(incarnation=1))
    study.delivered(given)  # what the other one still says does not count
    assert study.state.ledger.samples.num_delivered == 0
    assert study.on(ev.ServerEnded(address=ServerRank(5), message="no rank of this study")) == ()
    others = [ServerRank(1)] if isinstance(loss, ev.ServerEnded) else [SERVER, ServerRank(1)]
    commands = [study.on(ev.ServerEnded(address=address, message="killed by SIGTERM")) for address in others]
    assert all(found == () for found in commands[:-1])
    assert commands[-1] == (do.StartServers(incarnation=2, tried=True),)


def test_a_training_that_hangs_ends_a_study_without_a_restart_left_and_one_that_is_over_does_not() -> None:
    blocked = say.TrainingBlocked(message="its training step 7 has taken more than 600 s")
    study = Study(**only_training(3)).started()
    study.server(blocked)
    assert study.state.reason == "server rank 0 hangs: its training step 7 has taken more than 600 s"
    study = Study(**only_training(3), num_server_ranks=2).started()
    study.trained("max_batches", 0)
    study.server(blocked)
    assert study.state.outcome is None


def test_lost_server_ranks_that_cannot_be_ended_end_the_study() -> None:
    study = Study(max_server_restarts=1, num_server_ranks=2, **only_training(3)).started()
    study.on(ev.ServerEnded(address=SERVER, message="killed by SIGKILL"))
    study.on(ev.Tick(), after=51.0)
    assert "what is left of the server ranks did not end within launcher.start_timeout_s" in study.state.reason
    assert study.state.reason.endswith("after server rank 0 ended: killed by SIGKILL")
