"""The hosts of docker/compose.yaml without containers: its entry script on emulated hosts of the same names."""

import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.integration.studies import COMMAND, environment
from tests.slurm.cluster import why_no_cluster
from tests.slurm.hosts import Host, Switch

pytestmark = pytest.mark.slurm

DOCKER = Path(__file__).parents[2] / "docker"
DEADLINE_S = 60.0


@contextmanager
def composed() -> Iterator[dict[str, Host]]:
    """Each service of the compose file on a host of its name, whose command its entry runs, in any order."""
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    folder = Path(tempfile.mkdtemp(prefix="melissa-like-compose-"))
    folder.chmod(0o755)  # munged does not trust a folder that others cannot enter
    shared = folder / "cluster"
    with ExitStack() as stack:
        switch = stack.enter_context(Switch(folder, list(services)))
        hosts = {}
        for name, service in reversed(services.items()):  # the nodes wait for the controller
            own = {"CLUSTER": str(shared), "MUNGE": str(folder / f"munge-{name}")}
            hosts[name] = switch.boot(name, SLURM_CONF=str(shared / "slurm.conf"), **own)
            with (folder / f"{name}.log").open("wb") as log:
                entry = hosts[name].start(
                    [str(DOCKER / "entry"), *service["command"]], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            stack.callback(_end, entry)
        yield hosts


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(DEADLINE_S)


def commands_of_the_page() -> list[list[str]]:
    """What the page types on the controller after `sinfo`, for a study of a few simulations."""
    page = (DOCKER / "README.md").read_text()
    site, run = (shlex.split(line) for line in re.findall(r"exec controller melissa-like (.*)", page))
    return [site, [*run, "run_dir=study", "study.num_simulations=4", "study.num_validation_simulations=0"]]


@pytest.mark.slow
def test_the_hosts_of_the_compose_file_become_the_cluster_of_the_page(tmp_path: Path) -> None:
    if reason := why_no_cluster():
        pytest.skip(reason)
    with composed() as hosts:
        controller = hosts["controller"]
        deadline = time.monotonic() + DEADLINE_S
        while _idle(controller) != "0/3/0/3":
            assert time.monotonic() < deadline, _idle(controller)
            time.sleep(0.1)
        said = controller.run("srun", "--nodes=3", "hostname", timeout_s=DEADLINE_S)
        assert sorted(said.split()) == ["node1", "node2", "node3"]
        for arguments in commands_of_the_page():
            told = controller.run(*COMMAND, *arguments, cwd=tmp_path, env=environment(), timeout_s=100.0)
    assert "outcome: completed" in told
    assert "lost: 0" in told


def _idle(controller: Host) -> str:
    """Allocated, idle, other and all nodes of the cluster, or why Slurm does not tell."""
    with controller.start(
        ["sinfo", "--noheader", "--format=%F"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as asked:
        return asked.communicate(timeout=DEADLINE_S)[0].strip()
