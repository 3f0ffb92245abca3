"""A run directory that cannot be written any more under a running study.

Either its file system becomes read-only, as that of a disk does that has failed: it is mounted so for the study alone,
in a mount namespace of its own, which takes root. Or writing is not permitted any more, as when a ticket has expired.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.launched import resume
from tests.integration.studies import COMMAND, await_that, environment
from tests.integration.told import told, trained

APART = ("unshare", "--mount", "--propagation=private")
#: Without these even root may only write where the mode says so.
PLAIN = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def mount_read_only(folder: Path, pid: int) -> None:
    """For a process and its children; files that are open for writing stay so."""
    again = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} {folder}"
    subprocess.run(["nsenter", "--mount", f"--target={pid}", "sh", "-c", again], check=True, timeout=10)


def change_mode(run_dir: Path, mode: int) -> None:
    """Of the directory and of those in it."""
    for folder in (run_dir, *(path for path in run_dir.iterdir() if path.is_dir())):
        folder.chmod(mode)


def run(run_dir: Path, start: Sequence[str], take_away: Callable[[int], None]) -> str:
    """A study of 120 samples, until it ends because its directory cannot be written any more; what it said."""
    study = [*told(run_dir.parent, simulations=20, pause_s=0.2), "launcher.max_jobs=2", "launcher.grace_s=1"]
    study.append("training.checkpoint.interval_s=1")
    said = run_dir.parent / "said"
    with said.open("w") as stream:
        launcher = subprocess.Popen(
            [*start, *COMMAND, "run", f"run_dir={run_dir}", *study],
            cwd=run_dir.parent,
            env={**environment(), "TMPDIR": str(run_dir.parent)},
            stdout=stream,
            stderr=stream,
        )
    try:
        await_that(lambda: any(run_dir.glob("checkpoints/*/manifest.json")))
        take_away(launcher.pid)
        assert launcher.wait(30.0) == 1, said.read_text()
    finally:
        launcher.kill()
        launcher.wait(10.0)
    return said.read_text()


def assert_goes_on(run_dir: Path) -> None:
    ran = resume(run_dir)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (120, 120, 0)
    keys = {key for key, _ in trained(run_dir.parent)}
    assert keys == {(number, step) for number in range(20) for step in range(6)}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_file_system_that_becomes_read_only_ends_the_study_which_can_go_on(tmp_path: Path) -> None:
    tried = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False, timeout=10)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here, which takes root: {tried.stderr.strip()}")
    run_dir = tmp_path / "study"
    said = run(run_dir, APART, lambda pid: mount_read_only(run_dir, pid))
    assert f"the launcher cannot write to {run_dir} (Read-only file system), so it has ended the study" in said
    assert f"{run_dir / 'report.json'} could not be written (Read-only file system)" in said
    assert_goes_on(run_dir)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_directory_that_may_not_be_written_any_more_ends_the_study_which_can_go_on(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    said = run(run_dir, PLAIN, lambda pid: change_mode(run_dir, 0o500))
    change_mode(run_dir, 0o700)
    assert f"the launcher cannot write to {run_dir} (Permission denied), so it has ended the study" in said
    assert "Traceback" not in said
    assert_goes_on(run_dir)
