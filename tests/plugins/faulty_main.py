"""A solver with a main of its own and an error on one rank, started without `python -m mpi4py`.

Argument: the name of a function below.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from melissa_like.client import connect
from melissa_like.transport import PartSender, Transport
from melissa_like.transport.zmq_transport import ZmqTransport

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1
NUM_STEPS = 6


def good() -> dict[str, np.ndarray]:
    return {"mark": np.zeros((8 // COMM.size, 4))}


class Unreadable(Mapping[str, Any]):
    """Fields whose owner cannot hand them out."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or MemoryError("no memory for the copy from the device")

    def __getitem__(self, name: str) -> Any:
        raise self._error

    def __iter__(self) -> Iterator[str]:
        return iter(["mark"])

    def __len__(self) -> int:
        return 1


def run(
    fields: Callable[[int], Any],
    num_steps: int = NUM_STEPS,
    said: int | None = None,
    transport: Transport | None = None,
) -> None:
    session = connect(COMM, transport=transport)
    for step in range(num_steps):
        session.send(step, fields(step))
    session.close(said)


def ragged() -> None:
    run(lambda step: {"mark": [[1.0] * 4, [1.0] * 3]} if LAST and step == 2 else good())


def ragged_at_first() -> None:
    run(lambda step: {"mark": [[1.0] * 4, [1.0] * 3]} if LAST else good())


def objects() -> None:
    run(lambda step: {"mark": np.full((8 // COMM.size, 4), None)} if LAST and step == 2 else good())


def unreadable() -> None:
    run(lambda step: Unreadable() if LAST and step == 2 else good())


def unreadable_at_first() -> None:
    run(lambda step: Unreadable() if LAST else good())


def strange_name() -> None:
    run(lambda step: Unreadable(OSError("no file \udcff")) if LAST and step == 2 else good())


def gap() -> None:
    run(lambda step: {} if LAST and step == 2 else good())


def other_step() -> None:
    session = connect(COMM)
    for step in range(NUM_STEPS):
        session.send(step + (LAST and step > 2), good())
    session.close()


def between(end: Callable[[], object]) -> None:
    """The last rank ends outside of the client, where the others do not meet it."""
    session = connect(COMM)
    for step in range(NUM_STEPS):
        session.send(step, good())
        if LAST and step == 1:
            end()
    session.close()


def raises_between() -> None:
    between(lambda: 1 // 0)


def leaves_between() -> None:
    between(sys.exit)


def forgets_to_close() -> None:
    connect(COMM).send(0, good())


def no_mapping_at_first() -> None:
    run(lambda step: [1.0] if LAST else good())


def sends_nothing() -> None:
    run(lambda step: good(), num_steps=0 if LAST else NUM_STEPS)


def ends_early() -> None:
    run(lambda step: good(), num_steps=NUM_STEPS - LAST)


def miscounts() -> None:
    run(lambda step: good(), said=NUM_STEPS + LAST)


def refused() -> None:
    if COMM.rank == 0:
        os.environ["MELISSA_LIKE_JOB"] = f"stranger-{os.getpid()}"
    run(lambda step: good())


def not_connected() -> None:
    if COMM.rank == 0:
        os.environ["MELISSA_LIKE_RUN_DIR"] = "/nowhere"
    run(lambda step: good())


class Closed(ZmqTransport):
    """A node from which the server ranks cannot be reached."""

    def part_sender(self, endpoints: Sequence[str], *, budget_bytes: int) -> PartSender:
        raise OSError("too many open files on this node")


def cannot_open() -> None:
    run(lambda step: good(), transport=Closed() if LAST else None)


def survives() -> None:
    """What is raised on every rank can be caught on every rank, and the session is over."""
    session = connect(COMM)
    try:
        session.send(0, {"mark": "no number"} if LAST else good())
    except Exception:
        session.close()
        raise


if __name__ == "__main__":
    globals()[sys.argv[1]]()
