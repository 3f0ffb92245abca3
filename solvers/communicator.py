"""The ranks of a job, as the bundled solvers see them."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Communicator", "FloatArray", "require_one_rank"]

FloatArray = npt.NDArray[np.float64]


class Communicator(Protocol):
    """An mpi4py intracommunicator; for one rank anything with these two attributes will do, nothing else is used."""

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        ...

    @property
    def size(self) -> int:
        """The number of ranks."""
        ...


def require_one_rank(solver: str, comm: Communicator) -> None:
    """Refuse several ranks, for a solver that has nothing to share.

    Raises:
        ValueError: there are several.
    """
    if comm.size != 1:
        raise ValueError(
            f"{solver} was started on {comm.size} ranks and runs on one: write solver.num_ranks=1, and raise "
            "launcher.max_jobs instead"
        )
