"""What happens to a study from outside: jobs are canceled, a node dies, the scheduler refuses, or has no room."""

import re
from pathlib import Path

import pytest

from melissa_like.study import events as ev
from tests.integration.studies import await_that, marked
from tests.integration.told import happened, told
from tests.slurm import Cluster
from tests.slurm.studies import ALLOCATION, BATCH, STEPS, assert_balanced, assert_each_once, on_cluster, run

pytestmark = pytest.mark.slurm

#: Overrides, the allocation that the study runs in, and how squeue lists its jobs.
WAYS = {
    "slurm": (BATCH, (), ("--format=%i %j",)),
    "slurm_steps": (STEPS, ALLOCATION, ("--steps", "--format=%i %j")),
}
ways = pytest.mark.parametrize("way", WAYS)


def a_study(folder: Path, **options: object) -> list[str]:
    """Three simulations of six steps, one job after another; the second one tells when it is at its fourth step."""
    study = told(folder, simulations=3, simulation=1, step=3, how="SIGCONT", pause_s=0.5, **options)
    return [*study, "launcher.max_jobs=1", "buffer=fifo"]


def of_simulation_1(folder: Path) -> Path:
    """Is there once it is at that step."""
    return folder / "hit-1-1"


def listed(cluster: Cluster, word: str, options: tuple[str, ...]) -> list[str]:
    """Ids of what squeue lists with a word in its name."""
    lines = cluster.login.run("squeue", "--noheader", *options).splitlines()
    return [line.split()[0] for line in lines if word in line.split()[1]]


@pytest.mark.slow
@ways
def test_a_solver_job_that_somebody_cancels_costs_an_attempt(cluster: Cluster, tmp_path: Path, way: str) -> None:
    overrides, allocation, options = WAYS[way]
    with on_cluster(cluster, tmp_path / "study", *a_study(tmp_path), *overrides, allocation=allocation) as launcher:
        await_that(of_simulation_1(tmp_path).exists)
        cluster.login.run("scancel", *listed(cluster, "job-", options))
        ran = launcher.wait()
    report = assert_balanced(ran, expected=18)
    assert report["simulations"]["restarted"] == 1
    assert_each_once(tmp_path, 3)
    (ended,) = [entry.event for entry in happened(ran.run_dir, ev.JobEnded) if entry.event.exit_code != 0]
    assert ("SIGKILL" if allocation else "CANCELLED") in ended.message


@pytest.mark.slow
@ways
def test_server_ranks_that_somebody_cancels_start_again(cluster: Cluster, tmp_path: Path, way: str) -> None:
    overrides, allocation, options = WAYS[way]
    with on_cluster(cluster, tmp_path / "study", *a_study(tmp_path), *overrides, allocation=allocation) as launcher:
        await_that(of_simulation_1(tmp_path).exists)
        cluster.login.run("scancel", *listed(cluster, "server", options))
        ran = launcher.wait()
    report = assert_balanced(ran, expected=18)
    assert len(report["server_losses"]) == 1


@ways
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("word", ["job-", "server"])
def test_a_node_that_dies_costs_what_ran_on_it(cluster: Cluster, tmp_path: Path, way: str, word: str) -> None:
    """Slurm takes half a minute to notice; the launcher's own clocks would notice too."""
    overrides, allocation, options = WAYS[way]
    with on_cluster(cluster, tmp_path / "study", *a_study(tmp_path), *overrides, allocation=allocation) as launcher:
        await_that(of_simulation_1(tmp_path).exists)
        (node,) = {
            line.split()[0]
            for line in cluster.login.run("squeue", "--noheader", *options[:-1], "--format=%N %j").splitlines()
            if word in line.split()[1]
        }
        cluster.nodes[node].kill()
        ran = launcher.wait(300.0)
    report = assert_balanced(ran, expected=18)
    assert report["simulations"]["restarted"] + len(report["server_losses"]) >= 1
    losses = [entry.event for kind in (ev.JobEnded, ev.ServerEnded) for entry in happened(ran.run_dir, kind)]
    assert any(re.search("node failure|NODE_FAIL", lost.message) for lost in losses)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+launcher.executor.solver.partition=nowhere"], "invalid partition specified: nowhere"),
        (["+launcher.executor.server.partition=nowhere"], "invalid partition specified: nowhere"),
        (["+launcher.executor.solver.options=['--nodelist=n9']"], "Invalid node name specified"),
        (["+launcher.executor.solver.cpus_per_task=99"], "PartitionConfig"),
        (["solver.num_ranks=100", "solver.launch='srun -n {num_ranks}'"], "PartitionConfig"),
    ],
)
def test_what_the_scheduler_refuses_is_said_in_its_words(
    cluster: Cluster, tmp_path: Path, overrides: list[str], words: str
) -> None:
    ran = run(cluster, tmp_path / "study", *marked(), *BATCH, "solver.launch=''", *overrides)
    assert ran.code == 1, ran.err
    assert words in ran.report["reason"]
    (script,) = re.findall(r"the script is ([^\s)]+)", ran.report["reason"])
    assert Path(script).read_text().startswith("#!")


@pytest.mark.slow
def test_why_a_study_waits_is_in_its_status(cluster: Cluster, tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    cluster.login.run("sbatch", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
    cluster.await_that(lambda: "RUNNING" in cluster.queue()[0], "somebody else has all of it")
    with on_cluster(cluster, run_dir, *a_study(tmp_path), *BATCH) as launcher:
        await_that((run_dir / "status.json").exists)
        await_that(lambda: "Resources" in run(cluster, run_dir, command="status").out)
        cluster.login.run("scancel", "--name=wrap")
        assert_balanced(launcher.wait(), expected=18)
