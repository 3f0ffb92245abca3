"""A file system that becomes read-only under a running study, as a disk does that has failed.

It is mounted so for the study alone, in a mount namespace of its own; that takes root.
"""

import subprocess
from pathlib import Path

import pytest

from tests.integration.launched import resume
from tests.integration.studies import COMMAND, await_that, environment
from tests.integration.told import told, trained

APART = ("unshare", "--mount", "--propagation=private")


@pytest.fixture(autouse=True)
def mounts() -> None:
    """Skips, with the reason, where nothing can be mounted."""
    tried = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False, timeout=10)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here, which takes root: {tried.stderr.strip()}")


def make_read_only(folder: Path, pid: int) -> None:
    """For a process and its children; files that are open for writing stay so."""
    again = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} {folder}"
    subprocess.run(["nsenter", "--mount", f"--target={pid}", "sh", "-c", again], check=True, timeout=10)


@pytest.mark.timeout(180)
def test_a_run_directory_that_becomes_read_only_ends_the_study_which_can_go_on_elsewhere(tmp_path: Path) -> None:
    run_dir, errors = tmp_path / "study", tmp_path / "errors"
    study = [*told(tmp_path, simulations=20, pause_s=0.2), "solver.launch=''", "launcher.max_jobs=2"]
    study += ["training.checkpoint.interval_s=1", "launcher.grace_s=1"]
    with errors.open("w") as stream:
        launcher = subprocess.Popen(
            [*APART, *COMMAND, "run", f"run_dir={run_dir}", *study],
            cwd=tmp_path,
            env={**environment(), "TMPDIR": str(tmp_path)},
            stdout=stream,
            stderr=stream,
        )
    try:
        await_that(lambda: any(run_dir.glob("checkpoints/*/manifest.json")))
        make_read_only(run_dir, launcher.pid)
        assert launcher.wait(30.0) == 1
    finally:
        launcher.kill()
        launcher.wait(10.0)
    said = errors.read_text()
    assert f"the launcher cannot write to {run_dir} (Read-only file system), so it has ended the study" in said
    assert f"{run_dir / 'report.json'} could not be written (Read-only file system)" in said
    ran = resume(run_dir)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (120, 120, 0)
    assert {key for key, _ in trained(tmp_path)} == {(number, step) for number in range(20) for step in range(6)}
