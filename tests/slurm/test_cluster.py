"""The emulated cluster is one: hosts of their own, a queue, MPI over nodes, and nothing left when it is gone."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.studies import ROOT, await_that
from tests.slurm import Cluster

pytestmark = pytest.mark.slurm

_ALONE = """
import sys
from tests.slurm import Cluster
with Cluster(2) as cluster:
    print(cluster.folder, cluster.login.pid, cluster.nodes["n2"].pid, flush=True)
    sys.stdin.read()
"""


def test_each_node_is_a_host_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    seen = cluster.login.run("srun", "--nodes=3", "--label", "hostname")
    assert sorted(seen.split()[1::2]) == ["n1", "n2", "n3"]
    for what in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/net"):
        reads = cluster.login.run("srun", "--nodes=3", "sh", "-c", f"cat {what} 2> /dev/null || readlink {what}")
        assert len(set(reads.split())) == 3
    cluster.login.run("srun", "--nodes=1", "touch", "/dev/shm/mine", str(tmp_path / "ours"))
    assert (tmp_path / "ours").exists()
    assert not Path("/dev/shm/mine").exists()


def test_a_batch_job_is_queued_runs_and_is_forgotten_by_the_queue(cluster: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = cluster.login.run("sbatch", "--wait", "--nodes=2", f"--output={out}", "--wrap=hostname", timeout_s=60)
    assert said.startswith("Submitted batch job")
    assert out.read_text().split() == ["n1"]
    assert cluster.queue() == []


@pytest.mark.mpi
def test_mpi_ranks_on_two_nodes_see_each_other(cluster: Cluster) -> None:
    program = "from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.allgather(MPI.Get_processor_name()), c.rank)"
    said = cluster.login.run(
        "srun", "--mpi=pmi2", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-c", program, timeout_s=60
    )
    assert sorted(said.splitlines()) == [f"['n1', 'n2'] {rank}" for rank in range(2)]


def test_a_process_on_a_host_takes_signals_from_here(cluster: Cluster) -> None:
    with cluster.nodes["n2"].start(["sleep", "60"]) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == -signal.SIGTERM


def test_what_is_left_on_a_host_is_found(cluster: Cluster) -> None:
    cluster.nodes["n3"].run("sh", "-c", "setsid sleep 60 > /dev/null 2>&1 &")
    cluster.await_that(lambda: cluster.processes() == {"n3": ["sleep 60"]}, "it is found")
    cluster.nodes["n3"].run("pkill", "--full", "sleep 60")


def test_a_killed_host_takes_its_processes_along_and_comes_back(cluster: Cluster) -> None:
    with cluster.nodes["n2"].start(["sleep", "60"]) as process:
        cluster.nodes["n2"].kill()
        assert process.wait(10.0) == -signal.SIGKILL
    cluster.start("n2")
    cluster.await_idle()
    assert cluster.login.run("srun", "--nodelist=n2", "hostname").strip() == "n2"


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_cluster_ends_with_whoever_has_brought_it_up(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as above:
        assert above.stdout is not None
        folder, *pids = above.stdout.readline().split()
        hosts = [os.pidfd_open(int(pid)) for pid in pids]
        above.send_signal(number)
        assert above.wait(30.0) == -number
    for host in hosts:
        assert select.select([host], [], [], 10.0)[0], "a host is still there"
        os.close(host)
    await_that(lambda: not Path(folder).exists())
