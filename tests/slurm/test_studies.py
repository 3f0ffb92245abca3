"""Studies on several nodes, by each way of using the scheduler."""

from pathlib import Path

import pytest

from melissa_like.protocol.control import Hello, ServerHello
from melissa_like.study import events as ev
from tests.integration.followed import followed
from tests.integration.told import happened, told
from tests.slurm import Cluster
from tests.slurm.studies import ALLOCATION, BATCH, STEPS, assert_balanced, assert_each_once, on_cluster, run

pytestmark = [pytest.mark.slurm, pytest.mark.mpi]

#: How a study uses the scheduler: overrides, and the allocation that it runs in.
WAYS = {
    "slurm": (BATCH, ()),
    "slurm_steps": (STEPS, ALLOCATION),
}
ways = pytest.mark.parametrize("way", WAYS)


def hosts(run_dir: Path, kind: type) -> set[str]:
    """Of those who said hello in this way."""
    said = (entry.event for entry in happened(run_dir, ev.Said))
    return {event.message.host for event in said if isinstance(event.message, kind)}


@ways
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_default_study_keeps_its_promises(cluster: Cluster, tmp_path: Path, way: str) -> None:
    overrides, allocation = WAYS[way]
    ran = run(cluster, tmp_path / "study", *overrides, allocation=allocation, timeout_s=300)
    report = assert_balanced(ran, expected=10_000)
    assert report["simulations"]["completed"] == 105
    assert report["validation"]["relative_l2"] < 0.02


@ways
def test_a_small_study_over_three_nodes(cluster: Cluster, tmp_path: Path, way: str) -> None:
    """Six jobs of two ranks and a server rank take more than two nodes."""
    overrides, allocation = WAYS[way]
    small = ["study.num_simulations=12", "study.num_validation_simulations=1", "launcher.max_jobs=5"]
    ran = run(cluster, tmp_path / "study", *overrides, *small, allocation=allocation)
    report = assert_balanced(ran, expected=1200)
    assert report["simulations"]["completed"] == 13
    assert len(hosts(ran.run_dir, ServerHello) | hosts(ran.run_dir, Hello)) == 3


@ways
def test_two_server_ranks_on_two_nodes(cluster: Cluster, tmp_path: Path, way: str) -> None:
    overrides, allocation = WAYS[way]
    spread = ["+launcher.executor.server.nodes=2"] if way == "slurm" else []
    study = [*told(tmp_path, simulations=6, pause_s=0.05), "buffer=fifo", "launcher.num_server_ranks=2"]
    ran = run(cluster, tmp_path / "study", *study, *overrides, *spread, allocation=allocation)
    assert_balanced(ran, expected=36)
    assert_each_once(tmp_path, 6)
    assert len(hosts(ran.run_dir, ServerHello)) == 2


@ways
def test_a_program_of_two_processes_is_followed(cluster: Cluster, tmp_path: Path, way: str) -> None:
    """A follower takes one place of its job; the program's processes take all of them."""
    overrides, allocation = WAYS[way]
    study = [*followed(tmp_path, "solver.num_processes=2", "solver.keep_files=never"), *overrides]
    ran = run(cluster, tmp_path / "study", *study, allocation=allocation)
    report = assert_balanced(ran, expected=24)
    assert report["followed"]["peak_bytes"] > 20000
    assert not (ran.run_dir / "work").exists()


def test_jobs_that_are_due_at_once_are_an_array(cluster: Cluster, tmp_path: Path) -> None:
    study = [*told(tmp_path, simulations=8, pause_s=0.2), "buffer=fifo", *BATCH, "launcher.max_jobs=8"]
    with on_cluster(cluster, tmp_path / "study", *study) as launcher:
        cluster.await_that(lambda: sum("_" in line.split()[0] for line in cluster.queue()) == 8, "there is an array")
        assert len({line.split("_")[0] for line in cluster.queue() if "_" in line.split()[0]}) == 1
        ran = launcher.wait()
    assert_balanced(ran, expected=48)
    assert_each_once(tmp_path, 8)


def test_a_heterogeneous_allocation_has_server_and_solvers_on_nodes_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    study = [*told(tmp_path, simulations=6, pause_s=0.05), "buffer=fifo", *STEPS]
    parts = ["launcher.executor.solver_group=1", "+launcher.executor.server.gpus=1"]
    allocation = ["--ntasks=1", "--partition=gpu", "--gpus=1", ":", "--ntasks=4", "--partition=main", "--nodes=1-2"]
    ran = run(cluster, tmp_path / "study", *study, *parts, allocation=allocation)
    assert_balanced(ran, expected=36)
    assert_each_once(tmp_path, 6)
    assert hosts(ran.run_dir, ServerHello) == {"n3"}
    assert "n3" not in hosts(ran.run_dir, Hello)
