"""Where a process is reached: on the network that the processes of a study share, never where nobody else can come."""

import socket
from collections.abc import Sequence

import pytest

from melissa_like.errors import TransportError
from melissa_like.transport import own_host
from melissa_like.transport.interfaces import Interface, interfaces
from melissa_like.transport.own_host import OwnHost, choose, host_of_launcher, host_towards
from melissa_like.transport.zmq_sockets import host_in

LO = Interface(name="lo", addresses=("127.0.0.1", "::1"), is_loopback=True)
ETH = Interface(name="eth0", addresses=("10.1.0.7", "10.1.0.8", "fd00::7"))
IB = Interface(name="ib0", addresses=("10.2.0.7",))
DOCKER = Interface(name="docker0", addresses=("172.17.0.1",))
SIX = Interface(name="eth0", addresses=("fd00::7",))
OFF = Interface(name="eth9", addresses=("10.9.0.7",), is_up=False)


@pytest.fixture
def this_host(monkeypatch: pytest.MonkeyPatch) -> "Host":
    return Host(monkeypatch)


class Host:
    """What the functions under test are told of this host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def has(self, *there_are: Interface, names: Sequence[str] = (), towards: str = "") -> None:
        self._monkeypatch.setattr(own_host, "interfaces", lambda: there_are)
        self._monkeypatch.setattr(own_host, "numeric_hosts", lambda host: tuple(names))
        self._monkeypatch.setattr(own_host, "_source_towards", lambda address: towards)


@pytest.mark.parametrize(
    ("there_are", "preferred", "address", "interface"),
    [
        ([LO, ETH, IB], [], "10.1.0.7", "eth0"),
        ([LO, ETH, IB], ["10.2.0.7"], "10.2.0.7", "ib0"),
        ([LO, ETH, IB], ["10.1.0.8", "10.2.0.7"], "10.1.0.8", "eth0"),
        ([LO, ETH], ["127.0.1.1", "127.0.0.1", ""], "10.1.0.7", "eth0"),  # Debian's /etc/hosts
        ([LO, ETH], ["8.8.8.8"], "10.1.0.7", "eth0"),  # of another host
        ([LO, DOCKER, IB], [], "10.2.0.7", "ib0"),
        ([LO, DOCKER, SIX], [], "fd00::7", "eth0"),
        ([LO, DOCKER], [], "172.17.0.1", "docker0"),  # there is no other
        ([LO, OFF, SIX], ["10.9.0.7"], "fd00::7", "eth0"),
        ([LO, SIX, IB], [], "10.2.0.7", "ib0"),
    ],
)
def test_an_address_that_other_hosts_reach(
    there_are: list[Interface], preferred: list[str], address: str, interface: str
) -> None:
    assert choose(there_are, None, preferred) == OwnHost(address=address, interface=interface)


@pytest.mark.parametrize(
    ("wanted", "address", "interface"),
    [
        ("ib0", "10.2.0.7", "ib0"),
        ("eth0", "10.1.0.7", "eth0"),
        ("10.2.0.0/16", "10.2.0.7", "ib0"),
        ("10.1.0.8/32", "10.1.0.8", "eth0"),
        ("fd00::/64", "fd00::7", "eth0"),
        ("docker0", "172.17.0.1", "docker0"),  # whoever names it wants it
    ],
)
def test_an_interface_that_is_named_or_whose_network_is(wanted: str, address: str, interface: str) -> None:
    chosen = choose([LO, DOCKER, ETH, IB], wanted, ["10.1.0.7"])
    assert chosen == OwnHost(address=address, interface=interface)


@pytest.mark.parametrize("wanted", ["ib1", "10.3.0.0/16", "lo", "eth9", "eth0/no", "", "127.0.0.0/8"])
def test_an_interface_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(TransportError) as told:
        choose([LO, ETH, OFF], wanted, [])
    assert f"transport.interface is {wanted!r}" in str(told.value)
    assert socket.gethostname() in str(told.value)
    assert "lo (127.0.0.1, ::1), eth0 (10.1.0.7, 10.1.0.8, fd00::7), eth9 (10.9.0.7; down)" in str(told.value)


@pytest.mark.parametrize("there_are", [[], [LO], [LO, OFF]])
def test_a_host_without_a_network_is_refused(there_are: list[Interface]) -> None:
    with pytest.raises(TransportError, match=r"no address that other hosts can reach"):
        choose(there_are, None, ["127.0.0.1"])


def test_a_launcher_whose_jobs_are_on_its_host_needs_no_network(this_host: Host) -> None:
    this_host.has(LO, ETH, names=["10.1.0.7"])
    assert host_of_launcher("auto", "eth0", elsewhere=False) == OwnHost(address="127.0.0.1", interface="lo")


def test_a_launcher_takes_what_its_name_stands_for_and_else_its_way_to_the_world(this_host: Host) -> None:
    this_host.has(LO, ETH, IB, names=["10.2.0.7"], towards="10.1.0.7")
    assert host_of_launcher("auto", None, elsewhere=True).interface == "ib0"
    this_host.has(LO, IB, ETH, names=["127.0.1.1"], towards="10.1.0.7")
    assert host_of_launcher("auto", None, elsewhere=True).interface == "eth0"


@pytest.mark.parametrize("stands_for", ["127.0.1.1", "127.0.0.1", "::1", "0.0.0.0"])
def test_a_host_that_nobody_else_reaches_is_refused_where_jobs_are_elsewhere(this_host: Host, stands_for: str) -> None:
    this_host.has(LO, ETH, names=[stands_for])
    with pytest.raises(TransportError) as told:
        host_of_launcher("login1", None, elsewhere=True)
    assert f"transport.host is 'login1', which stands for {stands_for} here" in str(told.value)
    assert "eth0 (10.1.0.7, 10.1.0.8, fd00::7)" in str(told.value)
    assert host_of_launcher("login1", None, elsewhere=False).address == stands_for


def test_a_name_may_stand_for_a_loopback_address_too(this_host: Host) -> None:
    this_host.has(LO, ETH, names=["127.0.1.1", "10.1.0.8"])
    assert host_of_launcher("login1", None, elsewhere=True) == OwnHost(address="10.1.0.8", interface="eth0")


@pytest.mark.parametrize(
    ("endpoint", "interface", "expected"),
    [
        ("tcp://127.0.0.1:4711", "ib0", OwnHost(address="127.0.0.1", interface="lo")),
        ("tcp://127.0.1.1:4711", None, OwnHost(address="127.0.1.1", interface="lo")),
        ("tcp://[::1]:4711", None, OwnHost(address="::1", interface="lo")),
        ("tcp://10.1.0.1:4711", None, OwnHost(address="10.2.0.7", interface="ib0")),
        ("tcp://10.1.0.1:4711", "eth0", OwnHost(address="10.1.0.7", interface="eth0")),
        ("tcp://10.1.0.8:4711", None, OwnHost(address="10.1.0.8", interface="eth0")),  # on the launcher's host
    ],
)
def test_a_server_rank_is_reached_where_it_reaches_the_launcher(
    this_host: Host, endpoint: str, interface: str | None, expected: OwnHost
) -> None:
    this_host.has(LO, ETH, IB, towards="10.2.0.7")
    assert host_towards(endpoint, interface) == expected


def test_a_system_that_tells_no_interfaces_runs_studies_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[Interface, ...]:
        raise OSError("no such protocol")

    monkeypatch.setattr(own_host, "interfaces", refuse)
    assert host_of_launcher("auto", None, elsewhere=False) == OwnHost(address="127.0.0.1", interface="")
    with pytest.raises(TransportError, match="only none"):
        host_of_launcher("auto", None, elsewhere=True)


def test_the_address_in_an_endpoint() -> None:
    assert host_in("tcp://10.1.0.7:4711") == "10.1.0.7"
    assert host_in("tcp://[fd00::7]:4711") == "fd00::7"


def test_the_interfaces_of_this_host() -> None:
    loopback = next(interface for interface in interfaces() if interface.is_loopback)
    assert "127.0.0.1" in loopback.addresses
    assert {name for _, name in socket.if_nameindex()} == {interface.name for interface in interfaces()}
    assert not any(address.startswith("fe80") for interface in interfaces() for address in interface.addresses)
