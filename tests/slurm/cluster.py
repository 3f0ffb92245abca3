"""A real Slurm on emulated hosts: login node n0, where slurmctld runs, and compute nodes n1, n2, ..."""

import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from tests.slurm.configuration import Nodes, gres_conf, slurm_conf
from tests.slurm.hosts import Host, Switch, why_no_hosts

__all__ = ["Cluster", "why_no_cluster"]

_PROGRAMS = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
}
_DAEMON = re.compile(r"(munged|slurmctld|slurmd|: slurmscriptd)\b")
_STARTED_S = 60.0
_LOOK_S = 0.05


def why_no_cluster() -> str | None:
    """Why there can be no cluster here; None if there can."""
    missing = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        return f"no Slurm here: apt-get install --no-install-recommends {' '.join(missing)} iproute2"
    return why_no_hosts()


class Cluster:
    """Comes up and goes down as a context.

    Attributes:
        login: the host where users log in.
        nodes: the compute nodes by name.

    Args:
        num_nodes: compute nodes, at least two.
        num_cpus: of each.
        binds: whether tasks are bound to processors.
    """

    def __init__(self, num_nodes: int = 3, *, num_cpus: int = 4, binds: bool = False) -> None:
        names = [f"n{number}" for number in range(1, num_nodes + 1)]
        self._configuration = Nodes(names, num_cpus, binds)
        self.nodes: dict[str, Host] = {}
        self.folder = Path()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="melissa-like-slurm-"))
            self._switch = stack.enter_context(Switch(self.folder, ["n0", *self._configuration.names]))
            self._write()
            self.login = self._boot("n0")
            self.login.run(*self._munged())
            self.login.run("slurmctld", "-c")
            for name in self._configuration.names:
                self.start(name)
            self.await_idle()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def start(self, name: str) -> None:
        """Boots a node; one that was killed may be started again. It is idle a little later: see `await_idle`."""
        self.nodes[name] = self._boot(name)
        self.nodes[name].run("slurmd", "-N", name)

    def await_idle(self) -> None:
        """Block until nothing runs and every node would take a job."""
        self.await_that(lambda: set(self._states()) == {"idle"}, "every node is idle")

    def await_that(self, what: Callable[[], bool], words: str, timeout_s: float = _STARTED_S) -> None:
        """Block until something is so on the cluster."""
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {words}\n{self.told()}"
            time.sleep(_LOOK_S)

    def queue(self) -> list[str]:
        """What is in the queue: id, state, name and reason of each job that has not ended."""
        return self.login.run("squeue", "--noheader", "--array", "--format=%i %T %j %r").splitlines()

    def processes(self) -> dict[str, list[str]]:
        """The command lines of what runs on the hosts besides Slurm; hosts where nothing does are left out."""
        found = {host.name: list(_of_users(host).values()) for host in self._hosts}
        return {name: lines for name, lines in found.items() if lines}

    def told(self) -> str:
        """What the cluster says of itself, for a message."""
        log = (self.folder / "log" / "slurmctld.log").read_text(errors="replace").splitlines()
        running = [f"{name}: {line}" for name, lines in self.processes().items() for line in lines]
        return "\n".join([self.login.run("sinfo", "--long", "--Node"), *self.queue(), *running, *log[-30:]])

    def empty(self) -> None:
        """Ends whatever is in the queue or runs, and starts the nodes that were killed: for the next test."""
        for words in (["--signal=KILL"], []):
            self.login.run("scancel", "--quiet", "--user=root", *words)
        for pid in (pid for host in self._hosts for pid in _of_users(host)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name, node in self.nodes.items():
            if not Path(f"/proc/{node.pid}").exists():
                self.start(name)
        self.await_idle()

    @property
    def _hosts(self) -> list[Host]:
        return [self.login, *self.nodes.values()]

    def _states(self) -> list[str]:
        return self.login.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()

    def _boot(self, name: str) -> Host:
        return self._switch.boot(name, SLURM_CONF=str(self.folder / "slurm.conf"))

    def _write(self) -> None:
        for name in ("munge", "state", "spool", "log"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)  # munged does not trust a folder that others cannot enter
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        text = slurm_conf(self.folder, "n0", self._switch.address("n0"), self._configuration)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(gres_conf(self._configuration))

    def _munged(self) -> list[str]:
        folder = self.folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return ["munged", "--force", "--num-threads=2", *(f"--{name}={folder / file}" for name, file in files.items())]


def _of_users(host: Host) -> dict[int, str]:
    """What runs there and is no part of Slurm: command lines by process id."""
    return {pid: line for pid, line in host.processes().items() if not _DAEMON.match(line)}
