"""What outlives the launcher ends by itself, the server rank after a checkpoint."""

import signal
from pathlib import Path

import pytest

from tests.chaos.processes import living, signal_one
from tests.integration.launched import resume
from tests.integration.studies import ROOT, await_that, running
from tests.integration.told import told, trained

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_a_dead_launcher_has_left_ends_by_itself_and_the_study_can_go_on(tmp_path: Path) -> None:
    run_dir, spool = tmp_path / "study", tmp_path / "spool"
    study = [*told(tmp_path, simulations=20, pause_s=0.2), "launcher=spool", f"launcher.executor.spool={spool}"]
    study += ["launcher.orphan_timeout_s=3", "training.checkpoint.interval_s=600", "launcher.max_jobs=2"]
    with running(run_dir, *CONFIGS, *study) as launcher:
        await_that(lambda: any(trained(tmp_path)))
        launcher.kill()
        launcher.wait(10.0)
        submitted = {path.stem for path in spool.glob("*.pid")}
        assert len(submitted) == 3
        await_that(lambda: {path.stem for path in spool.glob("*.end")} == submitted)
    logs = "".join(path.read_text() for path in (run_dir / "logs").glob("job-*"))
    assert "StudyStoppedError: the launcher has not answered for 3 s: it is gone, or was started again" in logs
    assert "Traceback" not in logs
    assert list((run_dir / "checkpoints").glob("*/manifest.json"))
    ran = resume(run_dir)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (120, 120, 0)
    assert {key for key, _ in trained(tmp_path)} == {(number, step) for number in range(20) for step in range(6)}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_jobs_whose_guards_are_stopped_do_not_outlive_the_launcher_either(tmp_path: Path) -> None:
    """Nobody tells them of its end; they find out as jobs on other hosts do. What is left of them is ended later."""
    run_dir = tmp_path / "study"
    study = [*told(tmp_path, simulations=20, pause_s=0.2), "solver.launch=''", "launcher.max_jobs=2"]
    with running(run_dir, *study, "launcher.orphan_timeout_s=3", "training.checkpoint.interval_s=600") as launcher:
        await_that(lambda: any(trained(tmp_path)))
        guards = [process for process in living(run_dir) if process.role == "guard"]
        try:
            assert len(guards) >= 3
            for guard in guards:
                signal_one(guard, signal.SIGSTOP)
            launcher.kill()
            launcher.wait(10.0)
            await_that(lambda: {process.role for process in living(run_dir)} == {"guard"})
            assert list((run_dir / "checkpoints").glob("*/manifest.json"))
            ran = resume(run_dir)
            assert ran.code == 0, ran.err
            assert living(run_dir) == []
        finally:
            for guard in guards:
                signal_one(guard, signal.SIGKILL)
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (120, 120, 0)
