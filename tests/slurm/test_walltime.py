"""A study inside an allocation that is too short for it: it is saved ahead of the wall, and goes on in the next one."""

from pathlib import Path

import pytest

from tests.integration.studies import COMMAND, Ran, environment
from tests.integration.told import told
from tests.slurm import Cluster
from tests.slurm.studies import STEPS, assert_balanced, assert_each_once

pytestmark = pytest.mark.slurm

#: Slurm sends its signal half a minute to a minute early, and time limits count in minutes.
LIMIT = ["+launcher.executor.server.time=120", "launcher.save_timeout_s=5"]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_job_that_is_out_of_time_is_requeued_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    """Ten simulations of seven seconds: more than one allocation has."""
    run_dir, script = tmp_path / "study", tmp_path / "study.sh"
    study = [*told(tmp_path, simulations=10, pause_s=1.2), "buffer=fifo", "launcher.max_jobs=1"]
    wanted = [*study, *STEPS, *LIMIT, "launcher.requeue=true"]
    words = ["run", f"run_dir={run_dir}", *wanted, "--write-script", str(script)]
    cluster.login.run(*COMMAND, *words, cwd=tmp_path, env=environment())
    cluster.login.run("sbatch", f"--output={tmp_path / 'out'}", str(script), cwd=tmp_path, env=environment())
    cluster.await_that((run_dir / "report.json").exists, "the study was stopped in time", timeout_s=150.0)
    assert Ran(0, "", "", run_dir).report["outcome"] == "stopped"
    cluster.await_that(lambda: not cluster.queue(), "the study went on to its end", timeout_s=250.0)
    ran = Ran(0, (tmp_path / "out").read_text(), "", run_dir)
    report = assert_balanced(ran, expected=60)
    assert report["resumed"] >= 1
    assert_each_once(tmp_path, 10)
