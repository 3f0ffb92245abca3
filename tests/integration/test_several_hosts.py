"""A study over several hosts: the launcher on one, server ranks and solver jobs on others, reached over a network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from melissa_like.protocol import read_connection
from melissa_like.protocol.control import ServerHello
from melissa_like.study import events as ev
from melissa_like.transport.zmq_sockets import host_in
from tests.integration.hosts import Host, hosts
from tests.integration.launched import launched
from tests.integration.studies import ROOT, Ran, await_that, melissa_like, running
from tests.integration.told import happened, told, trained

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))
NAMES = ("login", "n1", "n2", "n3")


def addresses(*interfaces: tuple[str, str]) -> dict[str, dict[str, list[str]]]:
    """The four hosts, with one address on each interface; `10.77.0.{}/24` says which."""
    return {
        name: {interface: [form.format(number + 1)] for interface, form in interfaces}
        for number, name in enumerate(NAMES)
    }


ETHERNET, INFINIBAND = ("eth0", "10.77.0.{}/24"), ("ib0", "10.78.0.{}/24")
DOCKER = ("docker0", "172.17.0.1/16")  # the same on each


def study(
    folder: Path, there: Mapping[str, Host], *, servers: Sequence[str] = ("n1",), ranks: int = 1, pause_s: float = 0.0
) -> list[str]:
    """Overrides of a study whose server ranks run on some of the hosts, and whose solver jobs run on n2 and n3."""
    ways = folder / "ways.json"
    server_hosts, solver_hosts = [there[name] for name in servers], [there["n2"], there["n3"]]
    ways.write_text(
        json.dumps({"server": [host.way for host in server_hosts], "solver": [host.way for host in solver_hosts]})
    )
    return [
        *CONFIGS,
        *told(folder, simulations=6, ranks=ranks, pause_s=pause_s),
        "launcher=hosts",
        f"launcher.executor.ways={ways}",
        f"launcher.executor.spool={folder / 'spool'}",
        f"launcher.num_server_ranks={len(servers)}",
    ]


def assert_complete(ran: Ran, folder: Path) -> None:
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (36, 36, 36, 0)
    assert {key for key, _ in trained(folder)} == {(number, step) for number in range(6) for step in range(6)}


def addresses_told(run_dir: Path) -> list[str]:
    """Where launcher and server ranks said that they are reached, both doors of the launcher and the rendezvous too."""
    connection = read_connection(run_dir)
    hellos = [e.event.message for e in happened(run_dir, ev.Said) if isinstance(e.event.message, ServerHello)]
    listening = [connection.endpoint, connection.server_endpoint, *(hello.endpoint for hello in hellos)]
    rendezvous = [hello.rendezvous.rpartition(":")[0] for hello in hellos if hello.rendezvous]
    return sorted([*(host_in(endpoint.partition("#")[0]) for endpoint in listening), *rendezvous])


@pytest.mark.parametrize(
    ("wires", "overrides", "expected"),
    [
        ([ETHERNET, DOCKER], [], "10.77.0.{}"),
        ([ETHERNET, INFINIBAND], ["transport.interface=10.78.0.0/24"], "10.78.0.{}"),
        ([("eth0", "fd77::{}/64")], ["transport.encryption=all"], "fd77::{}"),
    ],
    ids=["as each host chooses", "a named network", "IPv6 alone"],
)
def test_two_server_ranks_on_two_hosts(
    tmp_path: Path, wires: list[tuple[str, str]], overrides: list[str], expected: str
) -> None:
    """Their own names stand for 127.0.1.1 on all of them, as Debian writes it."""
    run_dir = tmp_path / "study"
    with hosts(tmp_path, addresses(*wires)) as there:
        given = study(tmp_path, there, servers=["n1", "n2"])
        ran = melissa_like(run_dir, *given, *overrides, way=there["login"].way)
    assert_complete(ran, tmp_path)
    login, n1, n2 = (expected.format(number) for number in (1, 2, 3))
    assert addresses_told(run_dir) == sorted([login, login, n1, n1, n2])


def test_everything_goes_over_the_named_interface(tmp_path: Path) -> None:
    """The collectives too: each host's name stands for an address on the other interface, which carries nothing."""
    run_dir, plugged = tmp_path / "study", addresses(ETHERNET, INFINIBAND)
    names = {name: interfaces["eth0"][0].partition("/")[0] for name, interfaces in plugged.items()}
    with hosts(tmp_path, plugged, names=names, dead=("eth0",)) as there:
        given = [*study(tmp_path, there, servers=["n1", "n2"]), "transport.interface=ib0"]
        ran = melissa_like(run_dir, *given, way=there["login"].way)
    assert_complete(ran, tmp_path)


def test_an_interface_that_the_launcher_lacks_is_refused(tmp_path: Path) -> None:
    with hosts(tmp_path, addresses(ETHERNET)) as there:
        ran = melissa_like(
            tmp_path / "study", *study(tmp_path, there), "transport.interface=ib0", way=there["login"].way
        )
    assert ran.code == 2
    assert "transport.interface is 'ib0', which is no interface of login" in ran.err
    assert "lo (127.0.0.1, ::1), eth0 (10.77.0.1)" in ran.err
    assert not (tmp_path / "study").exists()


def test_an_interface_that_the_host_of_a_server_rank_lacks_ends_the_study_with_the_reason(tmp_path: Path) -> None:
    with hosts(tmp_path, addresses(ETHERNET)) as there:
        given = [*study(tmp_path, there), "transport.host=10.77.0.1", "transport.interface=ib0"]
        ran = melissa_like(tmp_path / "study", *given, way=there["login"].way)
    assert ran.code == 1
    assert "transport.interface is 'ib0', which is no interface of n1" in ran.err
    assert "eth0 (10.77.0.2)" in ran.err


def test_a_name_that_stands_for_a_loopback_address_is_refused(tmp_path: Path) -> None:
    with hosts(tmp_path, addresses(ETHERNET)) as there:
        ran = melissa_like(tmp_path / "study", *study(tmp_path, there), "transport.host=login", way=there["login"].way)
    assert ran.code == 2
    assert "transport.host is 'login', which stands for 127.0.1.1 here" in ran.err


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_a_dead_launcher_has_left_on_other_hosts_ends_and_another_host_goes_on(tmp_path: Path) -> None:
    run_dir, spool = tmp_path / "study", tmp_path / "spool"
    with hosts(tmp_path, addresses(ETHERNET)) as there:
        given = [*study(tmp_path, there, pause_s=0.3), "launcher.orphan_timeout_s=3"]
        with running(run_dir, *given, way=there["login"].way) as launcher:
            await_that(lambda: any(trained(tmp_path)))
            launcher.kill()
            launcher.wait(10.0)
            submitted = {path.stem for path in spool.glob("*.pid")}
            await_that(lambda: {path.stem for path in spool.glob("*.end")} == submitted)
        with launched(run_dir, command="resume", start=there["n3"].start) as resumed:
            ran = resumed.wait()
    assert_complete(ran, tmp_path)
    assert "10.77.0.4" in addresses_told(run_dir)
