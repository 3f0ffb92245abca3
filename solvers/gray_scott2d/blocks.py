"""The periodic square cut into a chequerboard of blocks, one per rank: who holds what, and the halos that they swap."""

import math
from typing import Any

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray

__all__ = ["Block"]


class Block:
    """One rank's block of a square grid; beyond an edge of the square lies its opposite edge.

    The ranks form a board of P × Q, as near to a square as their number allows, in row-major order. Blocks differ by
    one row and one column at most.

    Args:
        comm: the ranks that share the grid.
        grid_size: rows, and columns, of the whole grid.

    Attributes:
        offset: (row, column) of the grid at which this block begins.
        shape: its (rows, columns).

    Raises:
        ValueError: fewer rows or columns than blocks along them.
    """

    def __init__(self, comm: Communicator, grid_size: int) -> None:
        down = _near_square(comm.size)
        across = comm.size // down
        if grid_size < across:
            raise ValueError(
                f"grid_size is {grid_size} but {comm.size} ranks form a board of {down} × {across}, and each needs a "
                "row and a column: enlarge the grid or start fewer ranks"
            )
        row, column = divmod(comm.rank, across)
        rows, columns = _share(row, down, grid_size), _share(column, across, grid_size)
        self.grid_size = grid_size
        self.offset = rows[0], columns[0]
        self.shape = rows[1] - rows[0], columns[1] - columns[0]
        self._comm: Any = comm
        # Both directions along an axis: the rank that the edge goes to, and the one that the halo comes from.
        below, above = (row - 1) % down * across + column, (row + 1) % down * across + column
        left, right = row * across + (column - 1) % across, row * across + (column + 1) % across
        self._exchanges: list[tuple[int, int, Any, Any]] = [
            (below, above, np.s_[:, 1, 1:-1], np.s_[:, -1, 1:-1]),
            (above, below, np.s_[:, -2, 1:-1], np.s_[:, 0, 1:-1]),
            (left, right, np.s_[:, 1:-1, 1], np.s_[:, 1:-1, -1]),
            (right, left, np.s_[:, 1:-1, -2], np.s_[:, 1:-1, 0]),
        ]

    def coordinates(self) -> tuple[FloatArray, FloatArray]:
        """Row and column numbers of this block's points, divided by the grid's size: [rows, 1] and [1, columns]."""
        y, x = (first + np.arange(number) for first, number in zip(self.offset, self.shape, strict=True))
        return y[:, None] / self.grid_size, x[None, :] / self.grid_size

    def everywhere(self, holds: bool) -> bool:
        """Whether something holds on every rank; each of them calls it, and waits for the others."""
        return holds if self._comm.size == 1 else all(self._comm.allgather(holds))

    def exchange(self, padded: FloatArray) -> None:
        """Fill the halo of `padded`, without its corners, with the neighbours' edges.

        Args:
            padded: this rank's block inside a frame one point wide, shape (components, rows + 2, columns + 2).

        Blocks until the neighbours have called it too.
        """
        for to, from_, edge, halo in self._exchanges:
            if to == self._comm.rank:
                padded[halo] = padded[edge]
            else:
                # The edge of a strided array, and the halo, travel through arrays that MPI can read and write.
                received = np.empty_like(padded[halo], order="C")
                self._comm.Sendrecv(np.ascontiguousarray(padded[edge]), dest=to, recvbuf=received, source=from_)
                padded[halo] = received


def _near_square(size: int) -> int:
    """The largest divisor that is not above the square root."""
    return next(divisor for divisor in range(math.isqrt(size), 0, -1) if size % divisor == 0)


def _share(part: int, num_parts: int, size: int) -> tuple[int, int]:
    """First index of a part, and the one behind its last."""
    return part * size // num_parts, (part + 1) * size // num_parts
