"""Several hosts, each a network namespace with a name, addresses and an /etc/hosts of its own; only for root."""

import os
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Host", "hosts"]

_ENTER = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        name: as its processes see it.
        namespace: of its network.
        hosts_file: that its processes see as /etc/hosts.
    """

    name: str
    namespace: str
    hosts_file: Path

    @property
    def way(self) -> tuple[str, ...]:
        """What in front of a command runs it there."""
        return self._through()

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """Like `subprocess.Popen`, there."""
        return subprocess.Popen([*self.way, *command], **options)

    @property
    def way_alone(self) -> tuple[str, ...]:
        """The same, where it sees no process of another host, as on real ones."""
        return self._through("--pid", "--fork", "--kill-child", "--mount-proc")

    def _through(self, *options: str) -> tuple[str, ...]:
        inside = ("unshare", "--mount", "--uts", *options, "sh", "-c", _ENTER, self.name, str(self.hosts_file))
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *inside)


@contextmanager
def hosts(
    folder: Path,
    addresses: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    names: Mapping[str, str] | None = None,
    dead: Collection[str] = (),
) -> Iterator[dict[str, Host]]:
    """Hosts whose interfaces of one name are joined by a wire; skips the test where that is not allowed.

    Args:
        folder: for their files.
        addresses: by host and interface, as `10.77.0.1/24`. An interface `docker0` is a bridge that leads nowhere.
        names: address that each host's own name stands for there; by default 127.0.1.1, as on Debian.
        dead: interfaces whose wire carries nothing, though each host believes that it does.
    """
    tag, switch = f"mlh{os.getpid()}", f"mlh{os.getpid()}-switch"
    made = subprocess.run(["ip", "netns", "add", switch], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a network namespace cannot be made here, which takes root: {made.stderr.strip()}")
    found = {}
    try:
        wires = {interface for joined in addresses.values() for interface in joined if interface != "docker0"}
        for interface in wires:
            _ip(switch, "link", "add", interface, "type", "bridge")
            _ip(switch, "link", "set", interface, "down" if interface in dead else "up")
        for number, (name, interfaces) in enumerate(addresses.items()):
            namespace, hosts_file = f"{tag}-{number}", folder / f"hosts-{number}"
            hosts_file.write_text(f"127.0.0.1 localhost\n{(names or {}).get(name, '127.0.1.1')} {name}\n")
            subprocess.run(["ip", "netns", "add", namespace], check=True, capture_output=True)
            found[name] = Host(name, namespace, hosts_file)
            _ip(namespace, "link", "set", "lo", "up")
            for interface, own in interfaces.items():
                _plug(namespace, interface, switch, f"p{number}{interface}"[:15])
                for address in own:
                    _ip(namespace, "addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
        yield found
    finally:
        for namespace in (*(host.namespace for host in found.values()), switch):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def _plug(namespace: str, interface: str, switch: str, plug: str) -> None:
    if interface == "docker0":
        _ip(namespace, "link", "add", interface, "type", "bridge")
    else:
        _ip(namespace, "link", "add", interface, "type", "veth", "peer", "name", plug, "netns", switch)
        _ip(switch, "link", "set", plug, "master", interface)
        _ip(switch, "link", "set", plug, "up")
    _ip(namespace, "link", "set", interface, "up")


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True, capture_output=True)
