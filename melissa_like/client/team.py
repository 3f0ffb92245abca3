"""The ranks of one solver job seen as a team that waits asleep.

A rank that waits inside MPI spins and takes its core from the solver, the server and the trainer of the same machine
(measured: three waiting ranks leave an unrelated process 0.35 to 0.40 of its speed). So every collective here is a
non-blocking one, tested a few times and then slept on.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["MpiTeam", "SerialCommunicator", "SoloTeam", "Team", "sleep_until", "team_of"]

_SPINS = 64
_SHORTEST_SLEEP_S = 0.0002
_LONGEST_SLEEP_S = 0.005


class SerialCommunicator:
    """What a plug-in gets for `comm` when it runs without MPI: one rank of one."""

    rank = 0
    size = 1

    def Get_rank(self) -> int:  # noqa: N802
        """The rank, as mpi4py spells it."""
        return 0

    def Get_size(self) -> int:  # noqa: N802
        """The number of ranks, as mpi4py spells it."""
        return 1


class Team(Protocol):
    """The collectives that a client needs; every rank calls each of them in the same order."""

    rank: int
    size: int

    def broadcast(self, message: bytes) -> bytes:
        """Rank 0's message on every rank; the others' argument is ignored."""
        ...

    def total(self, values: Sequence[int]) -> list[int]:
        """The element-wise sum over the ranks, on every rank."""
        ...

    def gather_rows(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """Every rank's values, one row per rank, on every rank."""
        ...

    def abort(self) -> None:
        """End the other ranks, wherever they are, and perhaps this one; the only call that one rank makes alone."""
        ...


class SoloTeam:
    """A team of one: no MPI is touched."""

    rank = 0
    size = 1

    def broadcast(self, message: bytes) -> bytes:
        """The message itself."""
        return message

    def total(self, values: Sequence[int]) -> list[int]:
        """The values themselves."""
        return list(values)

    def gather_rows(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """One row."""
        return np.asarray([values], dtype=np.int64)

    def abort(self) -> None:
        """There are no others."""


class MpiTeam:
    """A team over an mpi4py intracommunicator, which is duplicated so that the solver's messages are left alone."""

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm.Dup()
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()

    def broadcast(self, message: bytes) -> bytes:
        """Rank 0's message on every rank."""
        length = np.asarray([len(message)], dtype=np.int64)
        self._wait(self._comm.Ibcast(length, root=0))
        payload = np.empty(int(length[0]), dtype=np.uint8)
        if self.rank == 0:
            payload[:] = np.frombuffer(message, dtype=np.uint8)
        self._wait(self._comm.Ibcast(payload, root=0))
        return payload.tobytes()

    def total(self, values: Sequence[int]) -> list[int]:
        """The element-wise sum over the ranks."""
        mine = np.asarray(values, dtype=np.int64)
        result = np.empty_like(mine)
        self._wait(self._comm.Iallreduce(mine, result, op=self._mpi.SUM))
        return [int(value) for value in result]

    def gather_rows(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """Every rank's values, one row per rank."""
        mine = np.asarray(values, dtype=np.int64)
        result = np.empty((self.size, mine.size), dtype=np.int64)
        self._wait(self._comm.Iallgather(mine, result))
        return result

    def abort(self) -> None:
        """`MPI_Abort` of all that run."""
        self._mpi.COMM_WORLD.Abort(1)

    @staticmethod
    def _wait(request: Any) -> None:
        # No deadline: the other ranks may be held by back-pressure, and a rank that dies takes the MPI job with it.
        sleep_until(request.Test)


def sleep_until(done: Callable[[], bool]) -> None:
    """Test a few times at once, then between sleeps of 0.2 to 5 ms."""
    for _ in range(_SPINS):
        if done():
            return
    pause = _SHORTEST_SLEEP_S
    while not done():
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_SLEEP_S)


def team_of(comm: Any) -> Team:
    """The team of a communicator: mpi4py's, or None or a `SerialCommunicator` for one rank without MPI."""
    if comm is None or isinstance(comm, SerialCommunicator):
        return SoloTeam()
    return MpiTeam(comm)
