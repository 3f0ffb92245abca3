"""A burst of connections waits in the system's queue and is not turned away."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from melissa_like.transport.zmq_transport import ZmqTransport

_LONGEST_QUEUE_AT = 28  # in `struct tcp_info`, of a socket that listens: tcpi_sacked


def queues() -> Iterator[tuple[int, int]]:
    """Port and longest queue of each socket of this process that listens on IPv4."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as opened:
            if opened.family == socket.AF_INET and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                told = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                yield opened.getsockname()[1], struct.unpack_from("=I", told, _LONGEST_QUEUE_AT)[0]


def port_of(endpoint: str) -> int:
    return int(endpoint.partition("#")[0].rpartition(":")[2])


def test_as_many_may_connect_at_once_as_the_system_allows() -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with closing(ZmqTransport()) as transport:
        control = transport.control_server()
        parts = transport.part_receiver(queue_length=1)
        found = dict(queues())
        for endpoint in (control.endpoint, control.server_endpoint, parts.endpoint):
            assert found[port_of(endpoint)] == min(4096, most)
        parts.close()
        control.close(0.0)
