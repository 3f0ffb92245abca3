"""The square cut into blocks of rows, one per rank: who holds what, and the two things that ranks tell each other."""

from typing import Any

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray

__all__ = ["RowBlock"]


class RowBlock:
    """One rank's rows of a square grid: `num_rows` of them from `first_row` on, neighbouring ranks hold the next ones.

    Args:
        comm: the ranks that share the grid.
        grid_size: rows, and columns, of the whole grid.

    Raises:
        ValueError: fewer rows than ranks.
    """

    def __init__(self, comm: Communicator, grid_size: int) -> None:
        if grid_size < comm.size:
            raise ValueError(
                f"grid_size is {grid_size} but there are {comm.size} ranks, and each needs a row: enlarge the grid or "
                "start fewer ranks"
            )
        self.grid_size = grid_size
        self.first_row = comm.rank * grid_size // comm.size
        self.num_rows = (comm.rank + 1) * grid_size // comm.size - self.first_row
        self.is_bottom = comm.rank == 0
        self.is_top = comm.rank == comm.size - 1
        self._comm: Any = comm
        self._exchanges = _exchanges(comm.rank, comm.size)
        self._totals = np.empty(2)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of this rank's part of a field."""
        return self.num_rows, self.grid_size

    def exchange(self, padded: FloatArray) -> None:
        """Fill the first and the last row of `padded` with the neighbours' rows; at the edges they stay as they are.

        Args:
            padded: this rank's rows between two more, shape (num_rows + 2, grid_size), C-contiguous.

        Blocks until both neighbours have called it too.
        """
        for neighbour, mine, theirs in self._exchanges:
            self._comm.Sendrecv(padded[mine], dest=neighbour, recvbuf=padded[theirs], source=neighbour)

    def totals(self, partial: FloatArray) -> tuple[float, float]:
        """Sum two numbers over the ranks, with the same bits on every rank; blocks until every rank has called it."""
        if self._comm.size == 1:
            return float(partial[0]), float(partial[1])
        self._comm.Allreduce(partial, self._totals)
        return float(self._totals[0]), float(self._totals[1])


def _exchanges(rank: int, size: int) -> list[tuple[int, int, int]]:
    """For each neighbour, in order: its rank, the padded row to send and the one to receive.

    Even ranks turn upwards first and odd ones downwards, so that the pairs meet in two rounds, whatever their number.
    An edge has no neighbour: two ranks exchange one message each.
    """
    up, down = (rank + 1, -2, -1), (rank - 1, 1, 0)
    order = (up, down) if rank % 2 == 0 else (down, up)
    return [exchange for exchange in order if 0 <= exchange[0] < size]
