"""The report adds up what the server ranks said."""

from melissa_like.launcher.report import make_report
from melissa_like.launcher.shell import Observations
from melissa_like.protocol.reports import Summary, TrainingFigures
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
