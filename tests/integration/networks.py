"""A second host, played by a network namespace joined to this one by a veth pair and a bridge; only for root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

__all__ = ["Network", "network"]


@dataclass(frozen=True)
class Network:
    """Two hosts and a wire.

    Attributes:
        namespace: of the other host; `ip netns exec NAMESPACE` starts a program there.
        address: of this one, as seen from the other.
        device: the bridge that stands for the wire.
    """

    namespace: str
    address: str
    device: str

    def cut(self) -> None:
        """Whatever is sent is lost, and nobody is told: as when a cable is pulled between two switches."""
        _ip("link", "set", f"{self.device}p", "nomaster")

    def mend(self) -> None:
        """The wire is whole again."""
        _ip("link", "set", f"{self.device}p", "master", self.device)


@contextmanager
def network() -> Iterator[Network]:
    """Make it, and take it away; the test is skipped, with the reason, where that is not allowed."""
    number = os.getpid() % 250
    device, namespace, subnet = f"mlk{number}", f"melissa-like-{os.getpid()}", f"10.213.{number}"
    made = subprocess.run(["ip", "netns", "add", namespace], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a network namespace cannot be made here, which takes root: {made.stderr.strip()}")
    try:
        _ip("link", "add", device, "type", "bridge")
        _ip("addr", "add", f"{subnet}.1/24", "dev", device)
        _ip("link", "add", f"{device}p", "type", "veth", "peer", "name", f"{device}o", "netns", namespace)
        _ip("link", "set", f"{device}p", "master", device)
        _ip("link", "set", f"{device}p", "up")
        _ip("link", "set", device, "up")
        inside = ("netns", "exec", namespace, "ip")
        _ip(*inside, "addr", "add", f"{subnet}.2/24", "dev", f"{device}o")
        _ip(*inside, "link", "set", f"{device}o", "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield Network(namespace, f"{subnet}.1", device)
    finally:
        for words in (("link", "delete", f"{device}p"), ("link", "delete", device), ("netns", "delete", namespace)):
            subprocess.run(["ip", *words], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
