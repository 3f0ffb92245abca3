"""The report adds up what the server ranks said."""

import pytest

from melissa_like.launcher.report import make_report
from melissa_like.launcher.shell import Observations
from melissa_like.launcher.summary import is_success
from melissa_like.protocol.control import Metrics
from melissa_like.protocol.reports import CheckpointFigures, Summary, TrainingFigures
from melissa_like.study import StudyState
from tests.unit.test_study_state import SETTINGS


def figures(samples: int, rate: float) -> TrainingFigures:
    return TrainingFigures(
        batches=4, samples=samples, seconds=2.0, samples_per_second=rate, input_wait_fraction=0.1, startup_seconds=0.0
    )


def test_what_several_server_ranks_said_is_added_up() -> None:
    one = Summary(trained_on=5, refused={"of an older attempt": 2, "malformed header": 1}, training=figures(40, 20.0))
    other = Summary(trained_on=7, refused={"of an older attempt": 3}, training=figures(30, 15.0))
    seen = Observations(summaries={1: other, 0: one}, refused={"not a control message": 7})
    report = make_report(StudyState(SETTINGS), seen, 1.0)
    assert report["samples"]["rejected"] == 6
    assert report["samples"]["trained_on"] == 12
    assert report["refused"] == {"of an older attempt": 5, "malformed header": 1}
    assert report["refused_control_messages"] == {"not a control message": 7}
    training = report["training"]
    assert (training["batches"], training["samples"], training["samples_per_second"]) == (4, 70, 35.0)
    assert report["validation"] is None
    assert report["checkpoints"] is None


def test_the_checkpoints_of_all_server_ranks_are_one_each() -> None:
    first = CheckpointFigures(number=4, written=2, nbytes=100, seconds_paused=0.1, seconds_writing=3.0)
    other = CheckpointFigures(written=2, nbytes=50, seconds_paused=0.2, seconds_writing=1.0)
    seen = Observations(summaries={0: Summary(checkpoints=first), 1: Summary(checkpoints=other)})
    assert make_report(StudyState(SETTINGS), seen, 1.0)["checkpoints"] == {
        "newest": 4,
        "written": 2,
        "bytes": 150,
        "seconds_paused": 0.2,
        "seconds_writing": 3.0,
    }


def test_of_a_rank_that_ended_without_a_word_the_last_metrics_are_taken() -> None:
    told = Summary(trained_on=5, training=figures(40, 20.0), surrogate="incomplete", problems=("no room",))
    silent = Metrics(batches=4, samples_trained=30, samples_received=9, unseen=2, bytes_received=8, training_loss=0.5)
    seen = Observations(summaries={0: told}, metrics={0: Metrics(batches=9), 1: silent})
    report = make_report(StudyState(SETTINGS), seen, 1.0)
    assert report["samples"]["trained_on"] == 12
    assert (report["surrogate"], report["problems"]) == ("incomplete", ["no room"])
    assert (report["training"]["batches"], report["training"]["samples"]) == (4, 70)
    alone = make_report(StudyState(SETTINGS), Observations(metrics={0: silent}), 1.0)["training"]
    assert (alone["batches"], alone["final_training_loss"], alone["samples_per_second"]) == (4, 0.5, None)


@pytest.mark.parametrize(
    ("outcome", "problems", "success"),
    [("completed", [], True), ("stopped", [], True), ("failed", [], False), ("completed", ["no figures"], False)],
)
def test_a_study_with_a_problem_is_no_success(outcome: str, problems: list[str], success: bool) -> None:
    assert is_success({"outcome": outcome, "problems": problems}) == success
