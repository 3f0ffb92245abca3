"""The network interfaces of this host and their addresses, as psutil tells them."""

import socket
from dataclasses import dataclass

import psutil

__all__ = ["Interface", "interfaces"]

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
#: How those are called that lead to containers, virtual machines or a private tunnel, and seldom to another node.
_ASIDE = ("br-", "cali", "cni", "docker", "dummy", "flannel", "lxc", "podman", "tap", "tun", "virbr", "vxlan", "wg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface.

    Attributes:
        addresses: those under which other hosts may reach it, of IPv4 first; none that needs a scope.
    """

    name: str
    addresses: tuple[str, ...]
    is_up: bool = True
    is_loopback: bool = False

    @property
    def is_aside(self) -> bool:
        """Whether it seldom leads to another node, by its name."""
        return self.name.startswith(_ASIDE)

    def __str__(self) -> str:
        told = ", ".join(self.addresses) or "no address"
        return f"{self.name} ({told if self.is_up else f'{told}; down'})"


def interfaces() -> tuple[Interface, ...]:
    """Those of this host.

    Raises:
        OSError: the kernel does not tell.
    """
    addresses, found = psutil.net_if_addrs(), []
    for name, state in psutil.net_if_stats().items():
        of_both = (a for family in _FAMILIES for a in addresses.get(name, ()) if a.family == family)
        found.append(
            Interface(
                name=name,
                addresses=tuple(a.address for a in of_both if "%" not in a.address),
                is_up=state.isup,
                is_loopback="loopback" in state.flags.split(","),
            )
        )
    return tuple(found)
