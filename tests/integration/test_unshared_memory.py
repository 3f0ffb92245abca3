"""Two hosts of one name, on which processes have the same ids: memory is not shared between them by mistake.

This file is also the program of each process. Both have process id 1 where they run, so that whoever followed the
number of the other would find a process: itself.
"""

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from melissa_like.transport.shared_memory import Probe, read_probe, split_endpoint
from melissa_like.transport.zmq_sockets import host_in
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import DEADLINE_S, receive, send
from tests.integration.hosts import hosts
from tests.integration.studies import environment

NUM_PARTS, NBYTES = 20, 300_000


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def receiver(address: str) -> None:
    """A server rank: says where it is, and takes what comes."""
    with closing(ZmqTransport(address)) as transport, closing(transport.part_receiver(queue_length=8)) as parts:
        say(parts.endpoint)
        for number in range(NUM_PARTS):
            received, payload = receive(parts, NBYTES)
            assert received is not None
            assert (received.header, received.fault) == (b"%d" % number, None)
            assert payload == bytes([number]) * NBYTES
    say("all there")


def sender(endpoint: str) -> None:
    """A client rank, with a probe of its own exactly where the server rank says that its probe is."""
    told = split_endpoint(endpoint)[1]
    pid, descriptor, token = told.split(".")
    decoy = Probe()
    os.dup2(int(decoy.extend("").split(".")[1]), int(descriptor))
    say(f"its process id is {'' if int(pid) == os.getpid() else 'not '}mine")
    say(f"its probe is {'read' if read_probe(told) == bytes.fromhex(token) else 'not read'}")
    with closing(ZmqTransport(host_in(endpoint))) as transport:
        parts = transport.part_sender([endpoint], budget_bytes=2**22)
        for number in range(NUM_PARTS):
            assert send(parts, b"%d" % number, bytes([number]) * NBYTES)
        assert parts.flush(DEADLINE_S)
        parts.close(0.0)
    say("all sent")


def start(way: tuple[str, ...], role: str, argument: str) -> subprocess.Popen[str]:
    command = [*way, sys.executable, "-m", "tests.integration.test_unshared_memory", role, argument]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("apart", [True, False])
def test_a_process_of_another_host_with_the_same_id_is_not_mistaken_for_this_one(tmp_path: Path, apart: bool) -> None:
    with hosts(tmp_path, {"a": {"eth0": ["10.77.0.1/24"]}, "b": {"eth0": ["10.77.0.2/24"]}}) as there:
        first, second = (replace(host, name="node") for host in there.values())
        server = start(first.way_alone if apart else first.way, "receiver", "10.77.0.1")
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        client = start(second.way_alone if apart else second.way, "sender", endpoint)
        said, _ = client.communicate(timeout=60.0)
        heard, _ = server.communicate(timeout=60.0)
    assert (client.returncode, server.returncode) == (0, 0)
    assert heard == "all there\n"
    if apart:
        assert said == "its process id is mine\nits probe is not read\nall sent\n"
    else:
        assert said == "its process id is not mine\nits probe is read\nall sent\n"


if __name__ == "__main__":
    {"receiver": receiver, "sender": sender}[sys.argv[1]](sys.argv[2])
