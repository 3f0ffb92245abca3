"""Where this process is reached by the others: the address of its own host on the network that they share.

While all of a study runs on one host that is the loopback address. Otherwise each process that listens finds an address
of the host it runs on: that of `transport.interface`, or, where none is named, one that leads to the others. A server
rank takes the one from which it reaches the launcher. The launcher, which knows nobody yet, takes what its host's name
stands for, then the one from which it reaches the world. Loopback addresses are never taken then, also if a name stands
for one, as Debian writes it into /etc/hosts.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from melissa_like.errors import TransportError
from melissa_like.transport.interfaces import Interface, interfaces
from melissa_like.transport.zmq_sockets import host_in, numeric_hosts

__all__ = ["AUTO", "OwnHost", "choose", "host_of_launcher", "host_towards"]

#: Of `transport.host`: every process finds its own.
AUTO = "auto"
_LOOPBACK = "127.0.0.1"
#: Addresses that documentation is written with: nothing is sent there, but the way to them is that to the world.
_WORLD = ("192.0.2.1", "2001:db8::1")
_ANY_PORT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHost:
    """Where a process is reached.

    Attributes:
        address: numeric, of IPv4 or IPv6.
        interface: that has this address; empty if none is known to have it.
    """

    address: str
    interface: str


def host_of_launcher(host: str, interface: str | None, *, elsewhere: bool) -> OwnHost:
    """Where the launcher is reached.

    Args:
        host: as in `transport.host`.
        interface: as in `transport.interface`.
        elsewhere: other processes of the study may run on other hosts.

    Raises:
        TransportError: there is no such interface, or no address that other hosts can reach; says which there are.
    """
    if host != AUTO:
        return _given(host, _known(), elsewhere=elsewhere)
    if not elsewhere:
        return _with_interface(_LOOPBACK, _known())
    own_names: Sequence[str] = ()
    with suppress(TransportError):  # a host whose name stands for nothing has addresses all the same
        own_names = numeric_hosts(socket.gethostname())
    return choose(_known(), interface, [*own_names, *(_source_towards(address) for address in _WORLD)])


def host_towards(endpoint: str, interface: str | None) -> OwnHost:
    """Where a server rank is reached: on the network by which it reaches the launcher, unless another one is named.

    Args:
        endpoint: of the launcher; with a loopback address, all of the study runs on this host.
        interface: as in `transport.interface`.

    Raises:
        TransportError: there is no such interface, or no address that other hosts can reach; says which there are.
    """
    launcher = host_in(endpoint)
    if _is_of_one_host(launcher):
        return _with_interface(launcher, _known())
    return choose(_known(), interface, [launcher, _source_towards(launcher)])


def choose(there_are: Sequence[Interface], wanted: str | None, preferred: Sequence[str]) -> OwnHost:
    """The address of this host under which other hosts reach it.

    Args:
        there_are: of this host.
        wanted: name of the interface to take, or its network as `10.1.0.0/16`; None: any.
        preferred: addresses to take if they are of this host, best first; others are skipped.

    Raises:
        TransportError: there is none; says which there are.
    """
    if wanted is not None:
        return _on(there_are, wanted)
    usable = [i for i in there_are if i.is_up and not i.is_loopback and i.addresses]
    for address in preferred:
        for interface in usable:
            if address in interface.addresses:
                return OwnHost(address=address, interface=interface.name)
    if not usable:
        raise TransportError(
            f"{socket.gethostname()} has no address that other hosts can reach, only {_shown(there_are)}: connect it, "
            "or run the study on this host alone (launcher=local)"
        )
    best = min(usable, key=lambda i: (i.is_aside, ":" in i.addresses[0]))
    return OwnHost(address=best.addresses[0], interface=best.name)


def _known() -> Sequence[Interface]:
    """Those of this host; none where the kernel does not tell, as in some sandboxes: loopback works without."""
    try:
        return interfaces()
    except OSError:
        return ()


def _on(there_are: Sequence[Interface], wanted: str) -> OwnHost:
    """The first address on a named interface, or in a network."""
    found = [
        OwnHost(address=address, interface=i.name)
        for i in there_are
        if i.is_up and not i.is_loopback
        for address in i.addresses
        if i.name == wanted or _is_in(address, wanted)
    ]
    if not found:
        raise TransportError(
            f"transport.interface is {wanted!r}, which is no interface of {socket.gethostname()} with an address that "
            f"other hosts can reach: there are {_shown(there_are)}. Write the name of one, or its network, such as "
            "10.1.0.0/16, which also fits hosts where the interface has another name; or null, to let each host choose"
        )
    return found[0]


def _is_in(address: str, network: str) -> bool:
    try:
        return "/" in network and ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


def _given(host: str, there_are: Sequence[Interface], *, elsewhere: bool) -> OwnHost:
    """What `transport.host` says."""
    stands_for = numeric_hosts(host)
    fitting = [address for address in stands_for if not elsewhere or not _is_of_one_host(address)]
    if not fitting:
        raise TransportError(
            f"transport.host is {host!r}, which stands for {', '.join(stands_for)} here, where no other host can reach "
            f"it, but jobs may run on other hosts: write {AUTO}, or an address that they reach. There are "
            f"{_shown(there_are)}"
        )
    return _with_interface(fitting[0], there_are)


def _with_interface(address: str, there_are: Sequence[Interface]) -> OwnHost:
    names = [i.name for i in there_are if address in i.addresses]
    if not names and ip_address(address).is_loopback:  # all of 127.0.0.0/8 is
        names = [i.name for i in there_are if i.is_loopback]
    return OwnHost(address=address, interface=names[0] if names else "")


def _is_of_one_host(address: str) -> bool:
    parsed = ip_address(address)
    return parsed.is_loopback or parsed.is_unspecified


def _source_towards(address: str) -> str:
    """The address of this host from which another one is reached; empty if there is no way. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as unsent:
            unsent.connect((address, _ANY_PORT))
            return str(unsent.getsockname()[0])
    except OSError:
        return ""


def _shown(there_are: Sequence[Interface]) -> str:
    return ", ".join(map(str, there_are)) or "none"
