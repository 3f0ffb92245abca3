"""A scheduler of one's own: one file and one YAML, and the study runs through it."""

import json
from pathlib import Path

import pytest

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank
from melissa_like.study import events as ev
from tests.integration.launched import launched
from tests.integration.studies import ROOT, await_that, marked, melissa_like, running
from tests.integration.told import happened, told, trained

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


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_job_that_waits_in_the_queue_keeps_its_place_over_a_resume(tmp_path: Path) -> None:
    """It was submitted by the first launcher, and reads where its study is when it starts under the second."""
    run_dir, spool = tmp_path / "study", tmp_path / "spool"
    held = spool / "held" / "job-0002"
    held.parent.mkdir(parents=True)
    held.touch()
    study = [*told(tmp_path, simulations=40, pause_s=0.1), "launcher=spool", f"launcher.executor.spool={spool}"]
    with running(run_dir, *CONFIGS, *study, "launcher.max_jobs=2") as launcher:
        await_that(lambda: any(trained(tmp_path)))
        launcher.kill()
        launcher.wait(10.0)
    with launched(run_dir, command="resume") as second:
        second.read_until("streaming")
        held.unlink()
        ran = second.wait()
    assert ran.code == 0, ran.err
    names = {path.stem: json.loads(path.read_text())["name"] for path in spool.glob("*.job")}
    (handle,) = [handle for handle, name in names.items() if name == "job-0002"]  # it was not submitted again
    assert (spool / f"{handle}.end").read_text() == "0"
    said = (entry.event for entry in happened(run_dir, ev.Said))
    assert any(it.address == ClientRank("job-0002") and isinstance(it.message, say.Goodbye) for it in said)
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (240, 240, 0)


def test_a_scheduler_that_does_not_take_its_arguments_is_refused(tmp_path: Path) -> None:
    overrides = [*marked(), "launcher=spool", "launcher.executor.spool=s", "+launcher.executor.queue=long"]
    ran = melissa_like(tmp_path / "study", *CONFIGS, *overrides, timeout_s=30)
    assert ran.code == 2
    assert "launcher.executor has the options queue" in ran.err
    assert "queue" in ran.err
    assert not (tmp_path / "study").exists()
