"""The commands beside `run`, on the emulated cluster: the site's file, dry runs, more and fewer jobs, sweeps."""

import re
import signal
from functools import partial
from pathlib import Path

import pytest
import yaml

from melissa_like.launcher.sweep_file import read_sweep
from tests.integration.launched import launched
from tests.integration.studies import COMMAND, Ran, environment, marked
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

ALONE = ("solver.launch=''", "launcher.executor.poll_interval_s=0.5", "launcher.grace_s=2")


def typed(cluster: Cluster, folder: Path, *arguments: str) -> str:
    """What a command of a user on the login node prints."""
    return cluster.login.run(*COMMAND, *arguments, cwd=folder, env=environment(), timeout_s=90.0)


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> tuple[str, ...]:
    """Options that choose the file which `melissa-like site` has written."""
    assert "written to: my_configs/launcher/site.yaml" in typed(
        cluster, tmp_path, "site", "my_configs/launcher/site.yaml"
    )
    return ("--config-dir", str(tmp_path / "my_configs"), "launcher=site")


def test_the_file_of_the_site_is_what_the_cluster_has(cluster: Cluster, tmp_path: Path, site: tuple[str, ...]) -> None:
    written = yaml.safe_load((tmp_path / "my_configs" / "launcher" / "site.yaml").read_text())
    assert written["executor"]["solver"] == {"partition": "main", "time": "1-00:00:00"}
    shown = typed(cluster, tmp_path, "run", *site, *marked(), *ALONE, "launcher.max_jobs=3", "--dry-run")
    (jobs,) = re.findall(r"job-0001 to job-0003: the scheduler gets\n(#!/bin/bash\n.*?\nexec [^\n]*)", shown, re.DOTALL)
    assert {"#SBATCH --array=0-2", "#SBATCH --partition=main", "#SBATCH --time=1-00:00:00"} < set(jobs.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_configs"]
    (tmp_path / "script").write_text(jobs)
    cluster.login.run("sbatch", "--test-only", str(tmp_path / "script"))


@pytest.mark.slow
def test_a_study_in_the_queue_gets_more_jobs_then_fewer(
    cluster: Cluster, tmp_path: Path, site: tuple[str, ...]
) -> None:
    run_dir, start = tmp_path / "study", cluster.login.start
    study = [*marked("gated", simulations=30, gate=tmp_path / "open"), *ALONE, "launcher.executor.server.gpus=null"]
    scale = partial(launched, run_dir, command="scale", start=start)

    def jobs() -> int:
        return sum("job-" in line for line in cluster.queue())

    with launched(run_dir, *site, *study, "launcher.max_jobs=1", start=start) as running:
        running.read_until("streaming")
        with scale("max_jobs=30") as command:
            assert command.wait().out.startswith("launcher.max_jobs: 1 -> 30")
        cluster.await_that(lambda: jobs() > 8, "more jobs are in the queue than the cluster has room for")
        with scale("max_jobs=2") as command:
            assert "without a simulation are canceled" in command.wait().out
        (tmp_path / "open").touch()
        ran = running.wait()
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert samples["expected"] == samples["delivered"] == samples["trained_on"] == 6 * 30
    assert ran.report["simulations"]["restarted"] == 0


@pytest.mark.slow
def test_two_studies_of_a_sweep_share_the_cluster(cluster: Cluster, tmp_path: Path, site: tuple[str, ...]) -> None:
    folder = tmp_path / "sweep"
    swept = ["study.seed=1,2,3", "launcher.max_studies=2", "launcher.max_jobs=2", "launcher.executor.server.gpus=null"]
    with launched(folder, "-m", *site, *marked(simulations=4), *ALONE, *swept, start=cluster.login.start) as sweep:
        cluster.await_that(lambda: sum("server" in line for line in cluster.queue()) == 2, "two studies run at once")
        ran = sweep.wait()
    assert ran.code == 0, ran.err
    rows = read_sweep(folder)
    assert [row.outcome for row in rows] == ["completed"] * 3
    for row in rows:
        samples = Ran(0, "", "", folder / row.folder).report["samples"]
        assert samples["expected"] == samples["delivered"] == samples["trained_on"] == 6 * 4
        assert samples["lost"] == 0


@pytest.mark.slow
def test_a_sweep_whose_login_node_process_is_killed_goes_on(
    cluster: Cluster, tmp_path: Path, site: tuple[str, ...]
) -> None:
    folder, gate = tmp_path / "sweep", tmp_path / "open"
    swept = ["study.seed=1,2", "launcher.max_studies=2", "launcher.max_jobs=2", "launcher.executor.server.gpus=null"]
    study = [*marked("gated", simulations=4, gate=gate), *ALONE]
    start = cluster.login.start
    journals = [folder / number / "journal.jsonl" for number in "01"]
    with launched(folder, "-m", *site, *study, *swept, start=start) as sweep:
        cluster.await_that(
            lambda: all(path.exists() and '"Progress"' in path.read_text() for path in journals), "both studies stream"
        )
        sweep.send(signal.SIGKILL)
        sweep.wait()
    cluster.await_that(lambda: not cluster.queue(), "the studies have taken their jobs with them")
    gate.touch()
    with launched(folder, command="resume", start=start) as again:
        ran = again.wait()
    assert ran.code == 0, ran.err
    for number in "01":
        report = Ran(0, "", "", folder / number).report
        assert report["samples"]["expected"] == report["samples"]["trained_on"] == 6 * 4
        assert (report["outcome"], report["resumed"]) == ("completed", 1)
