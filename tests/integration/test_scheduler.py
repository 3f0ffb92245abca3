"""A scheduler of one's own: one file and one YAML, and the study runs through it."""

from pathlib import Path

from tests.integration.studies import ROOT, marked, melissa_like

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))


def test_a_study_runs_through_a_scheduler_of_ones_own(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    overrides = [
        *marked("dies_once", folder=tmp_path),
        "solver.launch=''",
        "launcher=spool",
        "launcher.delivery_timeout_s=3",
    ]
    ran = melissa_like(tmp_path / "study", *CONFIGS, *overrides, f"launcher.executor.spool={spool}")
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (48, 48, 48, 0)
    submitted = {path.stem for path in spool.glob("*.job")}
    assert len(submitted) >= 1 + 2 + 3  # the server rank, two jobs at once, and one for each that died
    assert {path.stem for path in spool.glob("*.end")} == submitted


def test_a_scheduler_that_does_not_take_its_arguments_is_refused(tmp_path: Path) -> None:
    overrides = [*marked(), "launcher=spool", "launcher.executor.spool=s", "+launcher.executor.queue=long"]
    ran = melissa_like(tmp_path / "study", *CONFIGS, *overrides, timeout_s=30)
    assert ran.code == 2
    assert "launcher.executor has the options queue" in ran.err
    assert "queue" in ran.err
    assert not (tmp_path / "study").exists()
