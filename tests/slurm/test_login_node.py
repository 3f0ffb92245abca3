"""The launcher on the login node: it is killed and another goes on."""

import signal
from pathlib import Path

import pytest

from tests.integration.studies import marked
from tests.slurm import Cluster
from tests.slurm.studies import BATCH, assert_balanced, on_cluster, run

pytestmark = pytest.mark.slurm

ALONE = ["solver.launch=''", *BATCH]


@pytest.mark.parametrize("phase", ["starting", "streaming"])
def test_a_study_whose_launcher_was_killed_goes_on(cluster: Cluster, tmp_path: Path, phase: str) -> None:
    run_dir = tmp_path / "study"
    study = [*marked("slow", pause_s=0.2), *ALONE, "launcher.max_jobs=2", "training.checkpoint.interval_s=1"]
    with on_cluster(cluster, run_dir, *study) as launcher:
        launcher.read_until(phase)
        launcher.send(signal.SIGKILL)
        assert launcher.wait().code == -signal.SIGKILL
    report = assert_balanced(run(cluster, run_dir, command="resume"), expected=48)
    assert report["resumed"] == 1
