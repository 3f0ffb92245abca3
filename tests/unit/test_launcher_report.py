"""The report adds up what the server ranks said."""

from melissa_like.config import Config
from melissa_like.launcher.report import make_report
from melissa_like.launcher.shell import Observations
from melissa_like.records import Purpose
from melissa_like.study import StudySettings, StudyState


def test_refusals_are_reported_by_reason() -> None:
    settings = StudySettings(purposes=(Purpose.TRAINING,), parameters=("a",), num_steps=2, num_ranks=1)
    state = StudyState(settings, lambda simulation: {"a": 0.0})
    one, other = {"of an older attempt": 2, "malformed header": 1}, {"of an older attempt": 3}
    seen = Observations(
        summaries={
            0: {"samples": {"rejected": 3}, "refused": one},
            1: {"samples": {"rejected": 3}, "refused": other},
        },
        refused={"not a control message": 7},
    )
    report = make_report(Config(), state, seen, 1.0)
    assert report["samples"]["rejected"] == 6
    assert report["refused"] == {"of an older attempt": 5, "malformed header": 1}
    assert report["refused_control_messages"] == {"not a control message": 7}
