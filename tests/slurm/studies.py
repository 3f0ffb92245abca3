"""Studies whose launcher runs on the login node of the emulated cluster, or in an allocation made from there."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.launched import Launched, launched
from tests.integration.studies import Ran
from tests.integration.told import trained
from tests.slurm.cluster import Cluster

__all__ = ["ALLOCATION", "BATCH", "STEPS", "assert_balanced", "assert_each_once", "on_cluster", "run"]

#: All of three nodes; it outlives one that fails.
ALLOCATION = ("--nodes=3", "--ntasks-per-node=4", "--no-kill")
BATCH = ["launcher=slurm", "launcher.executor.poll_interval_s=1", "launcher.grace_s=2"]
STEPS = ["launcher=slurm_steps", "launcher.grace_s=2"]


@contextmanager
def on_cluster(
    cluster: Cluster,
    run_dir: Path,
    *overrides: str,
    command: str = "run",
    allocation: Sequence[str] = (),
) -> Iterator[Launched]:
    """`melissa-like COMMAND` on the login node, in the background; killed at the end if it still runs.

    Args:
        cluster: the cluster.
        run_dir: of the study.
        overrides: of the configuration.
        command: run, resume or status.
        allocation: options of salloc, if the study is to run inside an allocation.
    """
    start = partial(_in_allocation, cluster, allocation) if allocation else cluster.login.start
    with launched(run_dir, *overrides, command=command, start=start) as running:
        yield running


def run(
    cluster: Cluster,
    run_dir: Path,
    *overrides: str,
    command: str = "run",
    allocation: Sequence[str] = (),
    timeout_s: float = 100.0,
) -> Ran:
    """The same to its end."""
    with on_cluster(cluster, run_dir, *overrides, command=command, allocation=allocation) as running:
        return running.wait(timeout_s)


def assert_balanced(ran: Ran, *, expected: int | None = None, given_up: int = 0) -> dict[str, Any]:
    """The study has completed, and every sample that was expected came or was given up; returns its report."""
    assert ran.code == 0, f"{ran.err}\n{ran.out}"
    report, samples = ran.report, ran.report["samples"]
    assert report["outcome"] == "completed", report["reason"]
    assert samples["expected"] == samples["delivered"] + samples["given_up"] > 0
    assert samples["expected"] == (expected or samples["expected"])
    assert (samples["given_up"], samples["lost"]) == (given_up, 0)
    return report


def assert_each_once(folder: Path, simulations: int) -> None:
    """Each of the six samples of each simulation of `told` was trained on once, and none is mixed."""
    assert sorted(key for key, _ in trained(folder)) == [(n, step) for n in range(simulations) for step in range(6)]


def _in_allocation(
    cluster: Cluster, allocation: Sequence[str], command: Sequence[str], **options: Any
) -> "subprocess.Popen[str]":
    return cluster.login.start(["salloc", "--quiet", *allocation, *command], **options)
