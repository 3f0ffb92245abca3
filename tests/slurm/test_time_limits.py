"""Batch jobs that come to the limit of their own time, while the launcher goes on."""

from pathlib import Path

import pytest

from tests.integration.studies import marked
from tests.slurm import Cluster
from tests.slurm.studies import BATCH, assert_balanced, on_cluster

pytestmark = pytest.mark.slurm

_QUICK = ["monitoring.interval_s=0.1", "launcher.save_timeout_s=10", "launcher.max_jobs=2"]
#: Only what is saved at the end is there to go on from.
_SAVES_NOTHING = "training.checkpoint.interval_s=1000"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_server_ranks_that_slurm_tells_of_their_end_go_on_in_another_job(
    cluster: Cluster, tmp_path: Path, ranks: int
) -> None:
    """As it does ahead of a limit: one rank is its batch script, several are processes of `srun`."""
    study = [*marked("slow", pause_s=0.2, simulations=8), *_QUICK, _SAVES_NOTHING, *BATCH]
    study += [f"launcher.num_server_ranks={ranks}", "launcher.max_server_restarts=0"]
    to_script = ["--batch"] if ranks == 1 else []
    with on_cluster(cluster, tmp_path / "study", *study) as launcher:
        launcher.read_until("streaming")
        first = [line.split()[0] for line in cluster.queue() if " server" in line]
        cluster.login.run("scancel", *to_script, "--signal=USR1", *first)
        ran = launcher.wait()
    report = assert_balanced(ran, expected=48)
    [why] = report["server_losses"]
    assert why.endswith("was to end: its scheduler has sent SIGUSR1, its job ends soon")
    assert report["checkpoint"]["number"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_jobs_that_come_to_their_limits_cost_no_simulation(cluster: Cluster, tmp_path: Path) -> None:
    """A minute and two, which Slurm enforces up to a minute late; two jobs share simulations of 2.4 seconds."""
    study = [*marked("slow", pause_s=0.4, simulations=120), *_QUICK, *BATCH, "launcher.max_attempts=1"]
    study += ["+launcher.executor.solver.time=60", "+launcher.executor.server.time=120"]
    with on_cluster(cluster, tmp_path / "study", *study) as launcher:
        ran = launcher.wait(300.0)
    report = assert_balanced(ran, expected=720)
    assert report["server_losses"]
    assert report["simulations"]["failed"] == 0
