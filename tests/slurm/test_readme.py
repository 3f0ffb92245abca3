"""The README's section on clusters, typed on the login node as it is written."""

import re
from pathlib import Path

import pytest

from tests.integration.pages import environment
from tests.integration.studies import ROOT, Ran
from tests.slurm import Cluster
from tests.slurm.studies import assert_balanced

pytestmark = [pytest.mark.slurm, pytest.mark.mpi, pytest.mark.timeout(600)]

README = (ROOT / "README.md").read_text()
LONGEST_S = 400.0


def block(mark: str) -> str:
    """The block under a comment."""
    (found,) = re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    return found


def typed(cluster: Cluster, folder: Path, lines: str) -> str:
    """What a newcomer's shell on the login node says; any command that fails ends it."""
    (folder / "page.sh").write_text(lines)
    return cluster.login.run("bash", "-e", "page.sh", cwd=folder, env=environment(folder), timeout_s=LONGEST_S)


@pytest.mark.slow
def test_a_newcomer_goes_from_the_laptop_to_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    before, doctor, after = block("cluster commands").partition("melissa-like doctor")
    typed(cluster, tmp_path, before)
    site = tmp_path / "my_configs" / "launcher" / "mysite.yaml"
    assert "partition: main" in site.read_text()
    site.write_text(block("cluster site"))
    said = typed(cluster, tmp_path, doctor + after)
    assert "✗" not in said
    assert "launcher.max_jobs: 4 -> 8" in said
    report = assert_balanced(Ran(0, said, "", tmp_path / "runs" / "first"), expected=2000)
    assert report["resumed"] == 1


@pytest.mark.slow
def test_a_newcomer_runs_inside_an_allocation(cluster: Cluster, tmp_path: Path) -> None:
    typed(cluster, tmp_path, block("cluster allocation"))
    cluster.await_that(lambda: not cluster.queue(), "the job has ended", timeout_s=LONGEST_S)
    (output,) = tmp_path.glob("slurm-*.out")
    assert_balanced(Ran(0, output.read_text(), "", tmp_path / "runs" / "second"), expected=2000)
