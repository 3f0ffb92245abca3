"""The report adds up what the server ranks said."""

from pathlib import Path

import msgspec
import pytest

from melissa_like.launcher.report import make_report
from melissa_like.launcher.shell import Observations
from melissa_like.launcher.summary import is_success, print_report
from melissa_like.protocol.control import Metrics
from melissa_like.protocol.reports import (
    CheckpointFigures,
    RollOutFigures,
    SpreadFigures,
    Summary,
    TrainingFigures,
    ValidationFigures,
)
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


@pytest.mark.parametrize(
    ("trainer_s", "solvers_s", "words"),
    [
        (20.0, 3.0, "the solvers"),
        (3.0, 20.0, "the training"),
        (4.0, 0.0, "neither side waited long"),
        (0.0, 4.0, "neither side waited long"),
    ],
)
def test_who_was_waited_for_is_told_where_that_took_a_share_of_the_time(
    trainer_s: float, solvers_s: float, words: str
) -> None:
    waited = Summary(trainer_waited_seconds=trainer_s, solvers_waited_seconds=solvers_s)
    report = make_report(StudyState(SETTINGS), Observations(summaries={0: waited}), 100.0)
    assert report["stalls"]["bottleneck"] == words


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


def test_quantiles_roll_outs_and_correlation_times_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spread = SpreadFigures(mean=0.2, median=0.1, p99=0.5, max=None)
    rollout = RollOutFigures(
        num_simulations=3,
        num_steps=2,
        relative_l2=spread,
        by_step=(SpreadFigures(mean=0.1), SpreadFigures(mean=0.3)),
        num_fields=3,
        correlation_time=1.75,
        correlation_time_median=2.0,
        correlation_time_min=1.0,
        num_correlated=2,
        persistence=0.05,
    )
    last = ValidationFigures(
        batches=9,
        loss=0.5,
        relative_l2=0.02,
        num_samples=6,
        relative_l2_median=0.01,
        relative_l2_p99=0.03,
        relative_l2_max=0.04,
        relative_l2_by_field={"u": 0.01, "drag": None},
        rollout=rollout,
    )
    seen = Observations(summaries={0: Summary(training=figures(4, 2.0), validation=last)}, history=(last,))
    report = make_report(StudyState(SETTINGS), seen, 1.0)
    validation = report["validation"]
    assert (validation["relative_l2"], validation["relative_l2_p99"]) == (0.02, 0.03)
    assert [step["mean"] for step in validation["rollout"]["by_step"]] == [0.1, 0.3]
    assert validation["history"][0]["rollout"]["relative_l2"]["median"] == 0.1
    assert not validation["history"][0]["rollout"]["by_step"]
    print_report(report | {"name": "rolled", "resumed": 0}, tmp_path)
    told = "".join(capsys.readouterr())
    assert "validation error: 2.00 % (mean relative L2; median 1.00 %, p99 3.00 %, max 4.00 %), of one step; " in told
    assert "error by field: u 1.00 %, drag not finite\n" in told
    assert "of one step; 5.00 % if the fields stayed as they are\n" in told
    assert (
        "roll-out error: 20.00 % (mean relative L2 over 2 steps; median 10.00 %, p99 50.00 %, max not finite), 30.00 % "
        "at the last\n"
    ) in told
    assert "correlation time: 1.75 of 2 steps (mean; median 2, least 1; 2 of 3 roll-outs stay above 0.8" in told


def test_errors_that_were_not_finite_are_told_of_a_report_that_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = ValidationFigures(batches=9, loss=float("inf"), relative_l2=float("nan"), num_samples=6)
    seen = Observations(summaries={0: Summary(training=figures(4, 2.0), validation=last)}, history=(last,))
    written = msgspec.json.encode(make_report(StudyState(SETTINGS), seen, 1.0) | {"name": "lost", "resumed": 0})
    print_report(msgspec.json.decode(written), tmp_path)
    told = "".join(capsys.readouterr())
    assert "validation loss: not finite\n" in told
    assert "validation error: not finite (" in told
