"""The journal of a study that ran is the study: replayed, it gives the state that the report was made of."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from melissa_like.launcher.parts import settings_of
from melissa_like.launcher.report import make_report
from melissa_like.launcher.run import prepare
from melissa_like.launcher.shell import Observations
from melissa_like.study import StudyState, read_journal
from tests.integration.studies import Ran, marked, melissa_like


def assert_replays(ran: Ran) -> None:
    """Handle the journal's events at their times, and compare what that leads to with what was live."""
    composed: Any = OmegaConf.load(ran.run_dir / "config.yaml")
    config, samplers = prepare(composed)
    state = StudyState(settings_of(config, wants_losses=samplers.observes))
    for entry in read_journal(ran.run_dir):
        state.handle(entry.event, entry.at_s)
    replayed = make_report(state, Observations(), 0.0)
    for name in ("outcome", "reason", "simulations"):
        assert replayed[name] == ran.report[name]
    for name in ("expected", "delivered", "given_up", "lost"):
        assert replayed["samples"][name] == ran.report["samples"][name]


def test_of_a_study_with_failures(tmp_path: Path) -> None:
    overrides = [*marked("sometimes_raises"), "launcher.max_attempts=2", "launcher.max_failed_fraction=0.3"]
    ran = melissa_like(tmp_path / "study", *overrides, "launcher=inline")
    assert ran.code == 0, ran.err
    assert ran.report["simulations"]["failed"] == 1
    assert_replays(ran)


@pytest.mark.mpi
def test_of_a_study_whose_clocks_run_out(tmp_path: Path) -> None:
    """A solver that hangs once, until its job is canceled."""
    overrides = [*marked("hangs_once", folder=tmp_path), "solver.launch=''", "launcher.step_timeout_s=2"]
    ran = melissa_like(tmp_path / "study", *overrides, "launcher.max_jobs=2", "launcher.grace_s=1")
    assert ran.code == 0, ran.err
    assert ran.report["simulations"]["restarted"] >= 1
    assert_replays(ran)
