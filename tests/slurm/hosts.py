"""Emulated hosts on one machine: namespaces with their own name, address, processes and shared memory; only for root.

A `Switch` is the network between them. All that runs on its hosts is in its process namespace, so that nothing of it
outlives the switch, and the switch does not outlive this process.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

__all__ = ["Host", "Switch", "why_no_hosts"]

_HERE = Path(__file__).parent
_CLONE_NEWPID = 0x20000000
_DEADLINE_S = 20.0
_SUBNET = "10.77.0"


def why_no_hosts() -> str | None:
    """Why hosts cannot be emulated here; None if they can."""
    if os.geteuid() != 0:
        return "emulated hosts are network namespaces, which take root"
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"emulated hosts take the program {program} (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    return f"namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else None


@dataclass(frozen=True)
class Host:
    """One of the hosts.

    Attributes:
        name: of the host.
        address: in the network of the switch, on the device eth0.
        pid: of its first process, as seen here.
        environment: variables of what is started on it, besides those of this process.
    """

    name: str
    address: str
    pid: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: str | Path = "/",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> "subprocess.Popen[str]":
        """Like `subprocess.Popen`, on the host: the process is a child of this one, and takes signals from here."""
        where = ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", "env", f"--chdir={cwd}"]
        variables = {**(os.environ if env is None else env), **self.environment}
        with _children_in(self.pid):
            return subprocess.Popen([*where, *command], env=variables, **{"text": True, **options})

    def run(self, *command: str, timeout_s: float = _DEADLINE_S, **options: Any) -> str:
        """What a command on the host prints.

        Raises:
            AssertionError: it failed.
            subprocess.TimeoutExpired: it took too long, and was killed.
        """
        with self.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            finally:
                process.kill()
        assert process.returncode == 0, f"{list(command)} on {self.name}: exit code {process.returncode}: {err}"
        return out

    def kill(self) -> None:
        """Crashes it: whatever runs there is gone at once, and nobody is told."""
        os.kill(self.pid, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        """The command lines of what runs there, but for the two that keep it up; by process id, as seen here."""
        try:
            mine, found = os.readlink(f"/proc/{self.pid}/ns/pid"), {}
        except OSError:  # it was killed
            return {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns" / "pid") == mine and (line := (process / "cmdline").read_bytes()):
                    found[int(process.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # it has ended
                continue
        return {pid: line for pid, line in found.items() if pid != self.pid and line != "sleep infinity"}


class Switch:
    """A network for hosts.

    Args:
        folder: exists; what the hosts need is written there; it is removed when the switch is closed.
        names: of the hosts that there may be, in the order of their addresses.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._addresses = {name: f"{_SUBNET}.{10 + number}" for number, name in enumerate(names)}
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self._addresses.items())]
        (self._folder / "hosts").write_text("".join(f"{line}\n" for line in lines))
        self._process = subprocess.Popen(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", str(_HERE / "switch.sh"), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._pid = _told(self._process)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None
        try:
            self._process.communicate(timeout=_DEADLINE_S)  # closes its input first
        finally:
            self._process.kill()
            self._process.wait(_DEADLINE_S)
            shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, name: str) -> str:
        """Of a host, running or not."""
        return self._addresses[name]

    def boot(self, name: str, **environment: str) -> Host:
        """Starts one of the hosts; one that was killed may be started again."""
        address = self._addresses[name]
        apart = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child"]
        with (self._folder / "hosts.log").open("ab") as log, _children_in(self._pid):
            process = subprocess.Popen(
                ["setsid", "--fork", *apart, str(_HERE / "host.sh"), name, str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with process:
            pid = _told(process)
        port = f"port-{name}"
        _ip(self._pid, "link", "delete", port, may_fail=True)  # of the host before it: the kernel takes its time
        _ip(self._pid, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip(self._pid, "link", "set", port, "master", "br0", "up")
        _ip(pid, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip(pid, "link", "set", "eth0", "up")
        return Host(name, address, pid, environment)


def _ip(pid: int, *words: str, may_fail: bool = False) -> None:
    """Changes the network that a process is in."""
    command = ["nsenter", f"--target={pid}", "--net", "ip", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
    assert may_fail or done.returncode == 0, f"{command}: {done.stderr}"


def _told(process: "subprocess.Popen[str]") -> int:
    """The number that it prints."""
    assert process.stdout is not None
    overdue = threading.Timer(_DEADLINE_S, process.kill)
    overdue.start()
    try:
        line = process.stdout.readline()
    finally:
        overdue.cancel()
        overdue.join()
    assert line, f"{process.args} has not said its process id"
    return int(line)


@contextmanager
def _children_in(pid: int) -> Iterator[None]:
    """What this thread starts meanwhile is in the process namespace of another process.

    `nsenter --pid` would do it by a process between, which signals do not pass.
    """
    with Path(f"/proc/{pid}/ns/pid").open() as theirs, Path("/proc/self/ns/pid").open() as ours:
        _set_namespace(theirs.fileno())
        try:
            yield
        finally:
            _set_namespace(ours.fileno())


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWPID) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")
