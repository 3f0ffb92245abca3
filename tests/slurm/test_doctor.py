"""`melissa-like doctor` on the emulated cluster: from the login node, and inside an allocation."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.studies import COMMAND, environment, marked
from tests.slurm.cluster import Cluster
from tests.slurm.studies import ALLOCATION

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]


def doctor(cluster: Cluster, folder: Path, *overrides: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and what it printed; the folder beside the run directory is empty afterwards."""
    place = folder / "here"
    place.mkdir()
    command = [*before, *COMMAND, "doctor", f"run_dir={place / 'study'}", *marked(ranks=2), *overrides]
    with cluster.login.start(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        printed, _ = process.communicate(timeout=150.0)
    assert list(place.iterdir()) == []
    return process.returncode, printed


SLURM = ("launcher=slurm", "launcher.executor.poll_interval_s=1", "solver.launch='srun --mpi=pmi2 -n {num_ranks}'")


def test_all_is_well_from_the_login_node(cluster: Cluster, tmp_path: Path) -> None:
    code, printed = doctor(
        cluster, tmp_path, *SLURM, "launcher.num_server_ranks=2", "+launcher.executor.server.nodes=2"
    )
    assert code == 0, printed
    assert "✗" not in printed
    assert "✓ commands of Slurm: squeue, sbatch, scancel" in printed
    assert "✓ partition of solver jobs: main: 3 nodes a job, 12 CPUs" in printed
    assert "✓ server ranks start: 2, on n1, n2" in printed
    assert "✓ a job of 2 client ranks starts: on n1, n2 with MPI" in printed
    assert "a sum over gloo" in printed
    assert "✓ where the launcher is reached: 10." in printed
    assert "127.0." not in printed


def test_all_is_well_inside_an_allocation(cluster: Cluster, tmp_path: Path) -> None:
    before = ("salloc", "--quiet", *ALLOCATION)
    code, printed = doctor(cluster, tmp_path, "launcher=slurm_steps", "launcher.num_server_ranks=2", before=before)
    assert code == 0, printed
    assert "12 CPUs on 3 nodes; the server ranks and one solver job take 4 at least" in printed
    assert "✓ a job of 2 client ranks starts: on n" in printed
    assert "127.0." not in printed


def test_a_partition_that_is_not_there(cluster: Cluster, tmp_path: Path) -> None:
    code, printed = doctor(cluster, tmp_path, *SLURM, "+launcher.executor.solver.partition=mian")
    assert code == 1
    assert "✗ partition of solver jobs: launcher.executor.solver.partition is 'mian'; there are main, gpu" in printed
    assert "✗ a job of 2 client ranks starts: 0 of 2" in printed
    assert "invalid partition" in printed
    assert "✓ server ranks start: 1" in printed
