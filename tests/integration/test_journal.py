"""The journal of a study that ran is the study: replayed, it gives the state that the report was made of."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from melissa_like.launcher.parts import settings_of
from melissa_like.launcher.report import make_report
from melissa_like.launcher.run import prepare
from melissa_like.launcher.shell import Observations
from melissa_like.study import StudyState, read_journal, replay
from melissa_like.study.snapshots import SNAPSHOT_FILE
from tests.integration.launched import resume
from tests.integration.studies import Ran, environment, marked, melissa_like
from tests.unit.studied import everything, from_snapshot


def assert_replays(ran: Ran) -> None:
    """Handle the journal's events at their times, and compare what that leads to with what was live."""
    composed: Any = OmegaConf.load(ran.run_dir / "config.yaml")
    config, samplers = prepare(composed)
    state = StudyState(settings_of(config, wants_losses=samplers.observes))
    for number, entry in enumerate(read_journal(ran.run_dir)):
        state.handle(entry.event, entry.at_s)
        if number % 10 == 0:
            state = from_snapshot(state)
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


MANY_SNAPSHOTS = """
import sys
from pathlib import Path
from melissa_like.launcher.run import Launch, prepare, run_launch
from tests.benchmarks.control_plane import composed

run_dir = Path(sys.argv[1])
study = composed(run_dir, "launcher=inline", "study.num_simulations=400")
config, samplers = prepare(study)
run_launch(Launch(config=config, samplers=samplers, composed=study, run_dir=run_dir, snapshot_every=50), run_dir)
"""


def test_of_a_study_that_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    command = [sys.executable, "-c", MANY_SNAPSHOTS, str(run_dir)]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=100)
    found = replay(run_dir)
    kept = (run_dir / SNAPSHOT_FILE).rename(tmp_path / "kept")
    whole = replay(run_dir)
    assert found is not None
    assert whole is not None
    assert found.num_events < whole.num_events
    assert everything(found.state) == everything(whole.state)
    kept.rename(run_dir / SNAPSHOT_FILE)
    again = resume(run_dir, "study.num_simulations=410")
    assert again.code == 0, again.err
    assert again.report["simulations"]["completed"] == 410
    assert again.report["samples"]["lost"] == 0
