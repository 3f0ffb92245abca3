"""Where server ranks meet: under the address that rank 0 announces, and under no other."""

import socket

import pytest

from melissa_like.training import connect_rendezvous, open_rendezvous


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_ranks_meet_where_rank_0_announced_it(host: str) -> None:
    store, address = open_rendezvous(host, 2)
    assert address.startswith(f"{host}:")
    other = connect_rendezvous(address, 2, timeout_s=20.0)
    other.set("told by", "rank 1")
    assert store.get("told by") == b"rank 1"


def test_it_is_open_on_that_interface_alone() -> None:
    """Who can connect to it can read and write everything there."""
    store, address = open_rendezvous("127.0.0.1", 2)
    port = int(address.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=20.0)
    store.set("still", "there")
