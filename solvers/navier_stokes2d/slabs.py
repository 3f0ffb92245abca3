"""The periodic square cut into slabs, one per rank: who holds what, and transforms between points and modes.

Points are cut into blocks of rows, so that a rank has whole lines along x; modes into blocks of wavenumbers along x, so
that a rank has whole lines along y. A transform works along one axis, is transposed by one Alltoall, and works along
the other. Only modes that the 2/3 rule keeps are stored, transposed and transformed along y.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from melissa_like.solvers.communicator import Communicator, FloatArray
from melissa_like.solvers.etdrk4 import ComplexArray

__all__ = ["Slabs"]


class Slabs:
    """One rank's rows of points and columns of modes of a square grid.

    With K = (N − 1) // 3 the modes are those with wavenumbers 0 .. K along x and −K .. K along y; negative ones along x
    are their conjugates. A product of two fields is exact in these modes: what is aliased falls outside (Orszag's 2/3
    rule). Modes are laid out [wavenumbers along x of this rank, wavenumbers along y as 0 .. K, −K .. −1], and
    normalized so that a field is Σ w exp(2πi (k_x x + k_y y)).

    Args:
        comm: the ranks that share the grid.
        grid_size: N, rows and columns of the whole grid.
        refinement: of the computing grid: a rank's rows begin at a multiple of it.

    Attributes:
        largest_wavenumber: K.
        first_row: of this rank.
        num_rows: of this rank.
        x_wavenumbers: of this rank's modes, [columns, 1].
        y_wavenumbers: of all ranks' modes, [1, 2 K + 1].

    Raises:
        ValueError: a grid that is too small for so many ranks.
    """

    def __init__(self, comm: Communicator, grid_size: int, refinement: int = 1) -> None:
        self.largest_wavenumber = largest = (grid_size - 1) // 3
        most = min(grid_size // refinement, largest + 1)
        if grid_size < 4 or comm.size > most:
            raise ValueError(
                f"the computing grid has {grid_size} points along a side but there are {comm.size} ranks: it needs 4 "
                f"points at least, and has slabs for {max(most, 0)} ranks; enlarge the grid or start fewer ranks"
            )
        ranks = range(comm.size + 1)
        rows = [rank * (grid_size // refinement) // comm.size * refinement for rank in ranks]
        columns = [rank * (largest + 1) // comm.size for rank in ranks]
        self._rows, self._columns = ([slice(*ends) for ends in pairwise(edges)] for edges in (rows, columns))
        mine = self._columns[comm.rank]
        self.first_row, self.num_rows = rows[comm.rank], rows[comm.rank + 1] - rows[comm.rank]
        self.x_wavenumbers = np.arange(mine.start, mine.stop, dtype=np.float64)[:, None]
        self.y_wavenumbers = np.concatenate([np.arange(largest + 1.0), np.arange(-largest, 0.0)])[None, :]
        self._size = grid_size
        self._num_columns = mine.stop - mine.start
        self._comm: Any = comm

    def to_points(self, modes: ComplexArray) -> FloatArray:
        """From some fields' modes [fields, columns, 2 K + 1] to values at points [fields, rows, N].

        Every rank calls it, and waits for the others.
        """
        largest = self.largest_wavenumber
        padded = np.zeros((len(modes), self._num_columns, self._size), dtype=np.complex128)
        padded[..., : largest + 1] = modes[..., : largest + 1]
        padded[..., -largest:] = modes[..., largest + 1 :]
        lines = np.fft.ifft(padded, axis=-1, norm="forward")
        points: FloatArray = np.fft.irfft(self._to_rows(lines), self._size, axis=-1, norm="forward")
        return points

    def to_modes(self, points: FloatArray) -> ComplexArray:
        """From values at points to modes, those that the 2/3 rule keeps: the inverse of `to_points`."""
        largest = self.largest_wavenumber
        lines = np.fft.rfft(points, axis=-1, norm="forward")[..., : largest + 1]
        modes = np.fft.fft(self._to_columns(lines), axis=-1, norm="forward")
        return np.concatenate([modes[..., : largest + 1], modes[..., -largest:]], axis=-1)

    def largest(self, value: float) -> float:
        """The largest of all ranks' values, on every rank; NaN if there is one."""
        return float(np.max([value] if self._comm.size == 1 else self._comm.allgather(value)))

    def total(self, value: float) -> float:
        """The sum of all ranks' values, on every rank."""
        return value if self._comm.size == 1 else float(self._comm.allreduce(value))

    def _to_rows(self, columns: ComplexArray) -> ComplexArray:
        """From [fields, columns, N] to [fields, rows, K + 1]."""
        pieces = [columns[..., rows] for rows in self._rows]
        shapes = [(len(columns), part.stop - part.start, self.num_rows) for part in self._columns]
        return _joined(self._swap(pieces, shapes))

    def _to_columns(self, rows: ComplexArray) -> ComplexArray:
        """From [fields, rows, K + 1] to [fields, columns, N]."""
        pieces = [rows[..., columns] for columns in self._columns]
        shapes = [(len(rows), part.stop - part.start, self._num_columns) for part in self._rows]
        return _joined(self._swap(pieces, shapes))

    def _swap(self, pieces: list[ComplexArray], shapes: list[tuple[int, int, int]]) -> list[ComplexArray]:
        """Give each rank its piece; the pieces of all ranks for this one, in rank order."""
        if self._comm.size == 1:
            return pieces
        sent = np.concatenate([piece.ravel() for piece in pieces])
        counts = [int(np.prod(shape)) for shape in shapes]
        received = np.empty(sum(counts), dtype=np.complex128)
        self._comm.Alltoallv([sent, [piece.size for piece in pieces]], [received, counts])
        ends = np.cumsum([0, *counts])
        return [received[slice(*part)].reshape(shape) for part, shape in zip(pairwise(ends), shapes, strict=True)]


def _joined(pieces: list[ComplexArray]) -> ComplexArray:
    """Pieces of lines, side by side along axis 1, and the other axis last."""
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
    return whole.swapaxes(1, 2)
