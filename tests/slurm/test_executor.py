"""The contract of executors on a real Slurm, as far as a test can hold it that is not on the hosts of the jobs."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from melissa_like.launcher.executors import JobSpec, JobState, Role, log_tail
from tests.contract.executors import Fifo, Observed, ProcessHarness, batch_recipe, observed, shell
from tests.contract.test_executors import (
    fifo,
    opened,
    spec,
    study,
    test_a_canceled_job_ends_as_canceled,
    test_a_handle_is_enough_to_cancel,
    test_another_executor_finds_what_runs_and_ends_it,
    test_canceling_an_ended_or_unknown_job_does_nothing,
    test_canceling_one_job_leaves_the_others,
    test_close_ends_every_job_and_poll_tells_it,
    test_several_jobs_are_submitted_at_once_and_each_has_a_handle,
    test_the_final_update_tells_the_exit_code,
    test_the_log_is_appended_to_and_quoted,
)
from tests.slurm import Cluster

__all__ = [
    "fifo",
    "opened",
    "spec",
    "study",
    "test_a_canceled_job_ends_as_canceled",
    "test_a_handle_is_enough_to_cancel",
    "test_another_executor_finds_what_runs_and_ends_it",
    "test_canceling_an_ended_or_unknown_job_does_nothing",
    "test_canceling_one_job_leaves_the_others",
    "test_close_ends_every_job_and_poll_tells_it",
    "test_several_jobs_are_submitted_at_once_and_each_has_a_handle",
    "test_the_final_update_tells_the_exit_code",
    "test_the_log_is_appended_to_and_quoted",
]

pytestmark = pytest.mark.slurm


class RealSlurmHarness(ProcessHarness):
    """Commands that go to the login node of the cluster; those of a job are its own."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        commands = folder / "bin"
        commands.mkdir()
        login = cluster.login
        variables = " ".join(f"{name}='{value}'" for name, value in login.environment.items())
        enter = f"nsenter --target={login.pid} --net --uts --mount --pid env {variables}"
        for name in ("sbatch", "squeue", "scancel"):
            (commands / name).write_text(f'#!/bin/sh\nexec {enter} {name} "$@"\n')
            (commands / name).chmod(0o755)
        (commands / "srun").symlink_to("/usr/bin/srun")
        self.recipe = batch_recipe(folder, commands=str(commands))


@pytest.fixture
def harness(tmp_path: Path, cluster: Cluster) -> RealSlurmHarness:
    return RealSlurmHarness(tmp_path, cluster)


def with_site(harness: RealSlurmHarness, **site: Any) -> Any:
    return observed({**harness.recipe, **site}, uuid.uuid4().hex)


def test_a_refusal_is_told_in_the_words_of_slurm(harness: RealSlurmHarness, spec: Callable[..., JobSpec]) -> None:
    with with_site(harness, solver={"partition": "no-such"}) as opened:
        opened.submit(spec("a", **shell("exit 0")))
        final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert "Invalid partition name specified" in final.message
    assert "/run/jobs/a." in final.message


def test_a_job_that_asks_for_too_much_is_told_as_refused(
    harness: RealSlurmHarness, spec: Callable[..., JobSpec]
) -> None:
    with with_site(harness) as opened:
        opened.submit(spec("a", **shell("exit 0"), num_processes=999))
        final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert "PartitionConfig" in final.message


def test_ranks_of_a_gang_run_on_several_nodes(
    harness: RealSlurmHarness, spec: Callable[..., JobSpec], fifo: Callable[[str], Fifo]
) -> None:
    specs = [
        spec(f"rank-{rank}", role=Role.SERVER, gang="server", **shell(f"hostname; exit {rank}")) for rank in range(3)
    ]
    with with_site(harness, server={"nodes": 3}) as opened:
        opened.submit(*specs)
        assert [opened.final(spec.name).exit_code for spec in specs] == [0, 1, 2]
    assert sorted(log_tail(spec.log) for spec in specs) == ["n1", "n2", "n3"]


def test_scancel_from_outside_is_told_apart_from_a_crash(
    opened: Observed, spec: Callable[..., JobSpec], cluster: Cluster, fifo: Callable[[str], Fifo]
) -> None:
    started = fifo("started")
    opened.submit(spec("a", **shell(f"echo > {started.path}; exec sleep 60")))
    started.receive()
    cluster.login.run("scancel", "--user=root")
    final = opened.final("a")
    assert (final.state, final.by_machine) == (JobState.FAILED, True)
    assert "killed by SIGTERM; Slurm says CANCELLED on n1" in final.message


def test_why_a_job_waits_is_told(
    opened: Observed, spec: Callable[..., JobSpec], fifo: Callable[[str], Fifo], cluster: Cluster
) -> None:
    started = fifo("started")
    handles = opened.submit(spec("all", **shell(f"echo > {started.path}; exec sleep 60"), num_processes=12))
    started.receive()
    opened.submit(spec("a", **shell("exit 0")))
    opened.until(lambda: any(update.message in ("Resources", "Priority") for update in opened.updates))
    opened.executor.cancel(handles["all"])
    assert opened.final("all").state is JobState.CANCELED
    assert opened.final("a").state is JobState.COMPLETED


def test_a_launcher_finds_the_jobs_of_a_dead_one(
    harness: RealSlurmHarness, spec: Callable[..., JobSpec], study: str, fifo: Callable[[str], Fifo]
) -> None:
    started, go = fifo("started"), fifo("go")
    with observed(harness.recipe, study) as first:
        first.submit(spec("a", **shell(f"echo > {started.path}; read line < {go.path}; exit 5")))
        started.receive()
        with observed(harness.recipe, study) as second:
            assert [job.name for job in second.executor.find(study)] == ["a"]
            go.send("go\n")
            assert second.final("a").exit_code == 5
        assert first.final("a").state.is_final
