"""What follows from a scheduler's list and from end records, in whatever order they come."""

from pathlib import Path

import pytest

from melissa_like.launcher.executors import JobSpec, JobState, JobUpdate
from melissa_like.launcher.executors.batch import Answer, Fate, Listed, Phase, SiteSettings, Submission
from melissa_like.launcher.executors.batch.folder import EndRecord, Made
from melissa_like.launcher.executors.batch.pace import Pace
from melissa_like.launcher.executors.batch.tracker import Tracker

KEY = "a.0123"
TAG = f"melissa-like:study:{KEY}"
ACCEPTED = Answer(fate=Fate.ACCEPTED, job_id="7")


def spec(name: str, *, gang: str = "", num_processes: int = 1) -> JobSpec:
    here = Path("/nowhere")
    return JobSpec(
        name=name, gang=gang, command=("solver",), log=here, working_directory=here, num_processes=num_processes
    )


def listed(phase: Phase, words: str = "", **what: object) -> Listed:
    return Listed(job_id="7", tag=TAG, phase=phase, words=words, **what)  # type: ignore[arg-type]


class Told:
    """A tracker of one submission, and what it told."""

    def __init__(self, *specs: JobSpec, answer: Answer | None = ACCEPTED) -> None:
        self.tracker = Tracker("Slurm")
        array_from = 0 if len(specs) > 1 and not specs[0].gang else None
        submission = Submission(key=KEY, study="study", specs=specs, site=SiteSettings(), array_from=array_from)
        self.tracker.submit(submission, 0.0)
        assert [submission.key for submission in self.tracker.due(0.0)] == [KEY]
        if answer is not None:
            self.answer(answer, 0.0)

    def answer(self, answer: Answer, now: float) -> None:
        submission = self.tracker.batches[KEY].submission
        assert submission is not None
        self.tracker.answer(submission, answer, now, script="a.sh")

    def after(
        self, now: float, *entries: Listed, ends: dict[int, EndRecord] | None = None, is_listed: bool = True
    ) -> list[JobUpdate]:
        """One round: the list, unless the scheduler did not answer, then the records."""
        if is_listed:
            self.tracker.take_listed(entries, now)
        self.tracker.take_ends({f"{KEY}.{place}": record for place, record in (ends or {}).items()}, now)
        self.tracker.settle(now)
        updates, self.tracker.updates = self.tracker.updates, []
        return updates


def states(updates: list[JobUpdate]) -> list[JobState]:
    return [update.state for update in updates]


# --- before it runs ---------------------------------------------------------------------------------------------------


def test_a_job_that_waits_tells_why_once():
    told = Told(spec("a"))
    pending = listed(Phase.PENDING, "Priority")
    assert told.after(1.0, pending) == [JobUpdate(name="a", state=JobState.QUEUED, message="Priority")]
    assert told.after(2.0, pending) == []
    assert told.after(3.0, listed(Phase.PENDING, "Resources"))[0].message == "Resources"


def test_what_the_list_does_not_show_yet_is_queued():
    told = Told(spec("a"))
    assert told.after(5.0) == []
    assert states(told.after(6.0, listed(Phase.RUNNING))) == [JobState.ACTIVE]


def test_what_the_list_never_shows_has_ended():
    told = Told(spec("a"))
    told.after(61.0)
    (final,) = told.after(72.0)
    assert (final.state, final.by_machine) == (JobState.FAILED, False)
    assert "does not list job 7 any more" in final.message


def test_a_refusal_is_told_at_once():
    told = Told(spec("a"), answer=Answer(fate=Fate.REFUSED, words="invalid partition"))
    (final,) = told.after(1.0)
    message = "Slurm refused it: invalid partition (the script is a.sh)"
    assert final == JobUpdate(name="a", state=JobState.FAILED, message=message, retry=False)
    assert told.tracker.batches == {}


def test_a_refusal_for_now_is_tried_again_ever_more_rarely_and_then_given_up():
    later = Answer(fate=Fate.LATER, words="job limit")
    told = Told(spec("a"), answer=later)
    tries, now = [], 0.0
    while told.tracker.batches:
        now += 1.0
        if told.tracker.due(now):
            tries.append(now)
            told.answer(later, now)
    assert tries[:5] == [5.0, 15.0, 35.0, 75.0, 135.0]
    assert tries[-1] == pytest.approx(600.0, abs=61.0)
    assert told.tracker.updates[-1].retry is True


def test_a_job_that_will_never_run_is_canceled_and_told_as_refused():
    told = Told(spec("a"))
    never = listed(Phase.PENDING, "PartitionConfig", never_runs=True)
    told.after(1.0, never)
    assert told.tracker.to_cancel(5.0) == []
    told.after(6.0, never)
    assert [job.job_id for job in told.tracker.to_cancel(6.0)] == ["7"]
    (final,) = told.after(7.0, listed(Phase.ENDED, "CANCELLED", by_machine=True))
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert final.message == "Slurm took it and will never run it: PartitionConfig (job 7; the script is a.sh)"


def test_a_refusal_for_now_lasts_as_long_as_other_jobs_are_there():
    told = Told(spec("a"), answer=Answer(fate=Fate.LATER, words="job limit"))
    other = Submission(key="b.1", study="study", specs=(spec("b"),), site=SiteSettings())
    told.tracker.submit(other, 0.0)
    told.tracker.due(0.0)
    told.tracker.answer(other, Answer(fate=Fate.ACCEPTED, job_id="8"), 0.0, script="b.sh")
    for now in range(1, 5000):
        if told.tracker.due(now):
            told.answer(Answer(fate=Fate.LATER, words="job limit"), now)
    assert not [update for update in told.tracker.updates if update.state.is_final]


def test_a_submission_without_an_answer_is_taken_if_the_list_shows_it():
    told = Told(spec("a"), answer=Answer(fate=Fate.UNKNOWN, words="timed out"))
    assert states(told.after(1.0, listed(Phase.RUNNING))) == [JobState.QUEUED, JobState.ACTIVE]
    assert told.tracker.due(100.0) == []


def test_a_submission_without_an_answer_that_never_shows_is_submitted_again():
    told = Told(spec("a"), answer=Answer(fate=Fate.UNKNOWN, words="timed out"))
    told.after(59.0)
    assert told.tracker.due(59.0) == []
    told.after(61.0)
    assert [submission.key for submission in told.tracker.due(61.0)] == [KEY]


def accepts_up_to(limit: int, tracker: Tracker, until: float) -> list[tuple[float, int]]:
    """Answers as a scheduler with a limit of jobs does; when it accepted how many."""
    had, now, accepted = 0, 0.0, []
    while now < until:
        for submission in tracker.due(now):
            num = len(submission.specs)
            if had + num <= limit:
                had += num
                accepted.append((now, num))
                answer = Answer(fate=Fate.ACCEPTED, job_id=str(submission.array_from))
            else:
                answer = Answer(fate=Fate.LATER, words="QOSMaxSubmitJobPerUserLimit", is_full=True)
            tracker.answer(submission, answer, now, script="a.sh")
        now += 0.5
    return accepted


def test_of_an_array_for_which_there_is_no_room_as_much_is_submitted_as_there_is_room_for():
    tracker = Tracker("Slurm")
    specs = tuple(spec(f"job-{i}") for i in range(1000))
    tracker.submit(Submission(key=KEY, study="study", specs=specs, site=SiteSettings(), array_from=0), 0.0)
    accepted = accepts_up_to(100, tracker, 600.0)
    assert accepted[0] == (2.0, 62)
    assert sum(num for _, num in accepted) == 100
    names = [job.name for batch in tracker.batches.values() for job in batch.jobs.values()]
    assert sorted(names) == sorted(spec.name for spec in specs)
    assert not [update for update in tracker.updates if update.state.is_final]


def test_many_submissions_leave_turns_to_the_rest_of_the_conversation():
    tracker = Tracker("PBS")
    for number in range(50):
        one = Submission(key=f"a.{number}", study="study", specs=(spec(f"job-{number}"),), site=SiteSettings())
        tracker.submit(one, 0.0)
    assert [len(tracker.due(now)) for now in (0.0, 0.5, 1.0, 1.5)] == [20, 20, 10, 0]


def test_the_parts_of_an_array_are_listed_ended_and_canceled_by_their_places():
    told = Told(spec("a"), spec("b"), answer=None)
    told.answer(Answer(fate=Fate.LATER, words="limit", is_full=True), 0.0)
    (first,) = told.tracker.due(1.0)
    told.answer(Answer(fate=Fate.ACCEPTED, job_id="7"), 1.0)
    assert [one.name for one in first.specs] == ["a"]
    told.after(2.0, listed(Phase.RUNNING, index=0), ends={0: EndRecord(exit_code=0)})
    assert [batch.name for batch in told.tracker.batches.values()] == [f"{KEY}@1"]
    (second,) = told.tracker.due(3.0)
    assert (second.array_from, [one.name for one in second.specs]) == (1, ["b"])
    told.tracker.answer(second, Answer(fate=Fate.ACCEPTED, job_id="8"), 3.0, script="b.sh")
    told.tracker.cancel(KEY, 1)
    assert [job.number for job in told.tracker.to_cancel(4.0)] == ["8_1"]
    *_, final = told.after(5.0, ends={1: EndRecord(signal=15, was_asked=True)})
    assert (final.name, final.state) == ("b", JobState.CANCELED)


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_what_ended_well_has_ended_whatever_the_list_says():
    told = Told(spec("a", num_processes=4))
    told.after(1.0, listed(Phase.RUNNING))
    (final,) = told.after(2.0, listed(Phase.RUNNING), ends={0: EndRecord(exit_code=0)})
    assert final == JobUpdate(name="a", state=JobState.COMPLETED, exit_code=0, message="exit code 0")
    assert told.tracker.told_ends == [f"{KEY}.0"]


def test_what_failed_waits_for_the_words_of_the_list_but_not_for_ever():
    """An mpiexec whose job is canceled from outside exits in the same moment."""
    told = Told(spec("a", num_processes=4))
    told.after(1.0, listed(Phase.RUNNING))
    assert told.after(2.0, listed(Phase.RUNNING), ends={0: EndRecord(exit_code=255)}) == []
    (final,) = told.after(3.0, listed(Phase.ENDED, "CANCELLED", by_machine=True, says_more=True))
    assert (final.message, final.by_machine) == ("exit code 255; Slurm says CANCELLED (job 7)", True)
    told = Told(spec("a"))
    timed_out = listed(Phase.ENDED, "TIMEOUT", out_of_time=True, says_more=True)
    (_, final) = told.after(3.0, timed_out, ends={0: EndRecord(signal=15, was_asked=True)})
    assert (final.message, final.out_of_time) == ("killed by SIGTERM; Slurm says TIMEOUT (job 7)", True)
    told = Told(spec("a", num_processes=4))
    told.after(1.0, listed(Phase.RUNNING), ends={0: EndRecord(exit_code=3)})
    (final,) = told.after(11.0, is_listed=False)
    assert (final.message, final.by_machine) == ("exit code 3", False)


def test_an_end_that_comes_before_the_list_showed_the_job_runs():
    told = Told(spec("a"))
    updates = told.after(1.0, is_listed=False, ends={0: EndRecord(exit_code=0)})
    assert states(updates) == [JobState.ACTIVE, JobState.COMPLETED]


@pytest.mark.parametrize("num_processes", [1, 4])
def test_of_a_killed_job_the_list_must_tell_that_nothing_is_left(num_processes):
    told = Told(spec("a", num_processes=num_processes))
    killed = EndRecord(signal=9)
    assert states(told.after(1.0, listed(Phase.RUNNING), ends={0: killed})) == [JobState.ACTIVE]
    assert told.tracker.awaits_word
    assert told.after(2.0, listed(Phase.ENDING)) == []
    (final,) = told.after(3.0, listed(Phase.ENDED, "OUT_OF_MEMORY on n1", says_more=True))
    assert final.message == "killed by SIGKILL; Slurm says OUT_OF_MEMORY on n1 (job 7)"
    assert (final.exit_code, final.by_machine) == (None, False)


def test_a_killed_job_whose_list_says_no_more_names_the_signal_alone():
    told = Told(spec("a"))
    (_, final) = told.after(1.0, listed(Phase.ENDED, "FAILED (NonZeroExitCode) on n1"), ends={0: EndRecord(signal=11)})
    assert final == JobUpdate(name="a", state=JobState.FAILED, message="killed by SIGSEGV")


def test_a_single_process_does_not_wait_for_a_list_for_ever():
    told = Told(spec("a"), spec("b"))
    told.after(1.0, listed(Phase.RUNNING, index=0), ends={0: EndRecord(signal=9)})
    assert told.after(9.0, is_listed=False) == []
    assert [update.name for update in told.after(12.0, is_listed=False)] == ["a"]


def test_a_killed_rank_of_a_gang_has_ended_at_once():
    told = Told(spec("a", gang="g"), spec("b", gang="g"))
    told.after(1.0, listed(Phase.RUNNING))
    (final,) = told.after(2.0, listed(Phase.RUNNING), ends={1: EndRecord(signal=9)})
    assert (final.name, final.message) == ("b", "killed by SIGKILL")
    assert [job.name for job in told.tracker.batches[KEY].jobs.values()] == ["a"]


def test_a_lost_node_is_no_fault_of_the_job():
    told = Told(spec("a"))
    told.after(1.0, listed(Phase.RUNNING))
    gone = listed(Phase.ENDED, "NODE_FAIL (NodeDown) on n1", by_machine=True, says_more=True)
    (final,) = told.after(2.0, gone)
    assert final.message == "ended without an end record; Slurm says NODE_FAIL (NodeDown) on n1 (job 7)"
    assert final.by_machine


def test_a_record_may_be_visible_later_than_the_end_in_the_list():
    told = Told(spec("a"))
    told.after(1.0, listed(Phase.RUNNING))
    assert told.after(2.0, listed(Phase.ENDED, "FAILED")) == []
    assert told.tracker.missing_records() == [f"{KEY}.0"]
    (final,) = told.after(11.0, ends={0: EndRecord(exit_code=4)})
    assert final.exit_code == 4


def test_a_job_without_a_record_that_the_scheduler_saw_end_well_has_completed():
    told = Told(spec("a"))
    told.after(1.0, listed(Phase.RUNNING))
    told.after(2.0, listed(Phase.ENDED, "COMPLETED", exit_code=0))
    (final,) = told.after(13.0, listed(Phase.ENDED, "COMPLETED", exit_code=0))
    assert (final.state, final.exit_code) == (JobState.COMPLETED, 0)


def test_a_program_that_could_not_be_started_says_why():
    told = Told(spec("a"))
    (_, final) = told.after(1.0, ends={0: EndRecord(failure="on n1: no such directory")})
    assert final.message == "could not be started on n1: no such directory"


# --- canceled ---------------------------------------------------------------------------------------------------------


def test_a_job_that_was_not_submitted_yet_is_canceled_at_once():
    tracker = Tracker("Slurm")
    tracker.submit(Submission(key=KEY, study="study", specs=(spec("a"),), site=SiteSettings()), 0.0)
    assert tracker.cancel(KEY, 0)
    assert [update.state for update in tracker.updates] == [JobState.CANCELED]
    assert tracker.due(1.0) == []


def test_a_job_that_is_being_submitted_is_canceled_when_the_scheduler_has_it():
    told = Told(spec("a"), answer=None)
    told.tracker.cancel(KEY, 0)
    assert told.tracker.to_cancel(1.0) == []
    told.answer(ACCEPTED, 2.0)
    assert [job.job_id for job in told.tracker.to_cancel(3.0)] == ["7"]
    (final,) = told.after(4.0, listed(Phase.ENDED, "CANCELLED", by_machine=True))
    assert (final.state, final.message, final.by_machine) == (JobState.CANCELED, "canceled", False)


def test_a_cancellation_that_had_no_effect_is_repeated():
    told = Told(spec("a"))
    told.tracker.cancel(KEY, 0)
    assert len(told.tracker.to_cancel(1.0)) == 1
    assert told.tracker.to_cancel(2.0) == []
    told.after(10.0, listed(Phase.RUNNING))
    assert len(told.tracker.to_cancel(12.0)) == 1


def test_ranks_of_a_canceled_job_on_other_nodes_are_waited_for():
    told = Told(spec("a", num_processes=4))
    told.after(1.0, listed(Phase.RUNNING))
    told.tracker.cancel(KEY, 0)
    assert told.after(2.0, listed(Phase.ENDING), ends={0: EndRecord(signal=15, was_asked=True)}) == []
    assert states(told.after(3.0, listed(Phase.ENDED, "CANCELLED"))) == [JobState.CANCELED]


def test_one_element_of_an_array_is_canceled_by_its_index():
    told = Told(spec("a"), spec("b"))
    told.tracker.cancel(KEY, 1)
    assert [(job.job_id, job.index) for job in told.tracker.to_cancel(1.0)] == [("7", 1)]


def test_the_elements_of_an_array_of_another_launcher_are_all_canceled():
    tracker = Tracker("Slurm")
    entries = [listed(Phase.RUNNING, index=place) for place in range(3)]
    tracker.adopt(KEY, "study", {0: "a", 2: "c"}, entries, Made(names=("a", "b", "c")))
    for place in (0, 2):
        tracker.cancel(KEY, place)
    assert [(job.job_id, job.index) for job in tracker.to_cancel(1.0)] == [("7", 0), ("7", 2)]


# --- when to ask ------------------------------------------------------------------------------------------------------


def test_the_scheduler_is_asked_sooner_when_it_matters_and_more_rarely_when_it_is_silent():
    pace = Pace(5.0, 1.0)
    assert pace.is_due(0.0, urgent=False)
    pace.ask(0.0)
    pace.hear(answered=True)
    assert [pace.is_due(now, urgent=False) for now in (4.9, 5.0)] == [False, True]
    assert pace.is_due(1.0, urgent=True)
    pace.hear(answered=False)
    assert [pace.is_due(now, urgent=True) for now in (9.9, 10.0)] == [False, True]
    for _ in range(20):
        pace.hear(answered=False)
    assert [pace.is_due(now, urgent=False) for now in (59.9, 60.0)] == [False, True]
