"""Whole studies by batch jobs, over a Slurm that is a small program; on a real one: tests/slurm."""

import json
import signal
from pathlib import Path

import pytest

from melissa_like.records import ServerRank
from melissa_like.study import read_journal
from melissa_like.study.events import ServerQueued, ServerStarted
from tests.integration.launched import launched
from tests.integration.studies import await_that, marked, melissa_like, processes_of
from tests.plugins import fake_slurm


@pytest.fixture
def batch(tmp_path: Path) -> list[str]:
    """Overrides of a study by batch jobs of this Slurm, all on this host."""
    commands = fake_slurm.install(tmp_path / "slurm")
    (tmp_path / "slurm" / "state").mkdir()
    return [
        "launcher=slurm",
        f"launcher.executor.scheduler.commands={commands}",
        "launcher.executor.poll_interval_s=0.2",
        "launcher.delivery_timeout_s=3",
        "solver.launch=''",
    ]


def set_faults(folder: Path, **faults: object) -> None:
    path = folder / "slurm" / "state" / "faults"
    path.with_suffix(".new").write_text(json.dumps(faults))
    path.with_suffix(".new").rename(path.with_suffix(".json"))


def jobs(folder: Path) -> dict[str, dict[str, object]]:
    """What the scheduler knows, by number."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "slurm" / "state").glob("[0-9]*.json")}


def test_a_study_runs_by_batch_jobs(tmp_path: Path, batch: list[str]) -> None:
    ran = melissa_like(tmp_path / "study", *marked("dies_once", folder=tmp_path), *batch)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (48, 48, 48, 0)
    assert ran.report["simulations"]["restarted"] >= 1
    assert {job["state"] for job in jobs(tmp_path).values()} <= {"COMPLETED", "FAILED", "CANCELLED"}
    assert not processes_of(tmp_path / "study")


def test_server_ranks_that_the_scheduler_refuses_end_the_study_with_its_words(tmp_path: Path, batch: list[str]) -> None:
    ran = melissa_like(tmp_path / "study", *marked(), *batch, "launcher.executor.server.partition=no-such")
    assert (ran.code, ran.report["outcome"]) == (1, "failed")
    assert "Batch job submission failed: Invalid partition name specified" in ran.report["reason"]
    assert str(tmp_path / "study" / "jobs") in ran.report["reason"]
    assert jobs(tmp_path) == {}


def test_solver_jobs_that_the_scheduler_refuses_end_the_study_with_its_words(tmp_path: Path, batch: list[str]) -> None:
    ran = melissa_like(tmp_path / "study", *marked(), *batch, "launcher.executor.solver.partition=no-such")
    assert (ran.code, ran.report["outcome"]) == (1, "failed")
    assert "the scheduler refuses the solver's jobs" in ran.report["reason"]
    assert "Invalid partition name specified" in ran.report["reason"]
    assert not processes_of(tmp_path / "study")


def test_status_says_why_jobs_wait_and_a_queue_does_not_time_out(tmp_path: Path, batch: list[str]) -> None:
    set_faults(tmp_path, pending="QOSMaxJobsPerUserLimit")
    run_dir = tmp_path / "study"
    with launched(run_dir, *marked(), *batch, "launcher.start_timeout_s=20") as study:
        waits = "1 waits for the scheduler (QOSMaxJobsPerUserLimit)"
        study.read_until(waits)
        with launched(run_dir, command="status") as status:
            assert waits in status.wait().out
        set_faults(tmp_path)
        assert study.wait().code == 0
    events = [entry.event for entry in read_journal(run_dir)]
    assert ServerQueued(address=ServerRank(0)) in events
    assert ServerStarted(address=ServerRank(0)) in events


def test_a_study_survives_a_scheduler_that_does_not_tell_of_its_jobs_any_more(tmp_path: Path, batch: list[str]) -> None:
    with launched(tmp_path / "study", *marked(), *batch) as study:
        study.read_until("starting")
        await_that(lambda: any(job["state"] == "RUNNING" for job in jobs(tmp_path).values()))
        set_faults(tmp_path, squeue="fail")
        ran = study.wait()
    assert ran.code == 0, ran.err
    assert (ran.report["outcome"], ran.report["samples"]["lost"]) == ("completed", 0)


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_jobs_that_the_next_one_ends(tmp_path: Path, batch: list[str]) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *marked("slow", pause_s=0.3), *batch) as first:
        first.read_until("streaming")
        await_that(lambda: sum(job["state"] == "RUNNING" for job in jobs(tmp_path).values()) > 1)
        first.send(signal.SIGKILL)
        first.wait()
    with launched(run_dir, command="resume") as second:
        ran = second.wait()
    assert ran.code == 0, ran.err
    assert (ran.report["resumed"], ran.report["samples"]["lost"]) == (1, 0)
    await_that(lambda: not processes_of(run_dir))
    assert {job["state"] for job in jobs(tmp_path).values()} <= {"COMPLETED", "CANCELLED", "FAILED"}
