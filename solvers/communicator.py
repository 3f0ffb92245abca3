"""The ranks of a job, as the bundled solvers see them."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Communicator", "FloatArray"]

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
