"""A launcher that is out of time has its own batch job run again; Slurm's command is a script that notes its words."""

from pathlib import Path
from typing import Any

import pytest

from melissa_like.launcher.requeueing import run_again
from melissa_like.launcher.wall import told_by_signal

OUT_OF_TIME = {"outcome": "stopped", "reason": told_by_signal("SIGUSR1"), "problems": []}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `scontrol` that refuses job 9, and the environment of batch job 7."""
    command = tmp_path / "scontrol"
    command.write_text(
        f'#!/bin/sh\n[ "$2" = 9 ] && echo "Job has already finished" >&2 && exit 1\necho "$@" > {tmp_path}/asked\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("ENVIRONMENT", "BATCH")
    return tmp_path


def told(folder: Path, report: dict[str, Any], *, requeue: bool = True) -> list[str]:
    (folder / "config.yaml").write_text(
        f"run_dir: .\nsolver: {{name: s}}\nbuffer: {{_target_: b}}\nlauncher: {{requeue: {str(requeue).lower()}}}\n"
    )
    said: list[str] = []
    run_again(report, folder, said.append)
    return said


def test_its_job_is_run_again(slurm: Path) -> None:
    assert told(slurm, OUT_OF_TIME) == ["Slurm job 7 is run again, to go on with the study"]
    assert (slurm / "asked").read_text() == "requeue 7\n"


def test_what_slurm_refuses_is_quoted(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    refused = told(slurm, OUT_OF_TIME)[-1]
    assert "cannot be run again: Job has already finished" in refused
    assert f"melissa-like resume {slurm}" in refused


def test_an_allocation_of_salloc_has_no_script_to_run_again(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVIRONMENT")
    assert "has no script" in told(slurm, OUT_OF_TIME)[0]
    assert not (slurm / "asked").exists()


@pytest.mark.parametrize(
    ("report", "requeue"),
    [
        (OUT_OF_TIME, False),
        ({**OUT_OF_TIME, "outcome": "completed", "reason": "every sample was delivered"}, True),
        ({**OUT_OF_TIME, "reason": "interrupted by SIGTERM"}, True),
        ({**OUT_OF_TIME, "outcome": "failed"}, True),
    ],
)
def test_only_a_study_that_ran_out_of_time_goes_on(slurm: Path, report: dict[str, Any], requeue: bool) -> None:
    assert told(slurm, report, requeue=requeue) == []
    assert not (slurm / "asked").exists()
