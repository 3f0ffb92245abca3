"""The cells of an OpenFOAM mesh that is decomposed, in the order of the whole mesh."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from melissa_like.client.readers.fields import Array
from melissa_like.client.readers.foam_file import CellValues, label_list, num_cells_of, read_foam
from melissa_like.client.readers.folder import wrong_file
from melissa_like.errors import SolverError

__all__ = ["FoamMesh"]


class FoamMesh:
    """Where the cells of each process are; read once, when it is needed.

    Args:
        folder: of the case.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num_cells: dict[int | None, int] = {}
        self._addresses: dict[int, Array] = {}
        self._edges: Array | None = None

    def whole(self, pieces: Mapping[int | None, CellValues], told: str) -> Array:
        """A field of all cells: [cells] for scalars, else [components, cells].

        Args:
            pieces: values by process; None: of a program that is not parallel.
            told: field and time, for messages.

        Raises:
            SolverError: a file of the mesh cannot be read, or the pieces are not the cells of the mesh.
        """
        arrays = {rank: self._expanded(rank, values) for rank, values in pieces.items()}
        if None in arrays:
            values = arrays[None]
        else:
            addresses = {rank: self._address(rank) for rank in arrays if rank is not None}
            wrong = [rank for rank, address in addresses.items() if len(address) != len(arrays[rank])]
            if wrong:
                raise SolverError(
                    f"{told}: processor{wrong[0]} has {len(arrays[wrong[0]])} cells, and cellProcAddressing has "
                    f"{len(addresses[wrong[0]])}: the mesh must stay the same while the program runs"
                )
            numbers = np.concatenate([*addresses.values()])
            if not np.array_equal(np.sort(numbers), np.arange(len(numbers))):
                raise SolverError(
                    f"{told}: the cells of {len(addresses)} processes are not all of the mesh: correct num_ranks"
                )
            values = np.empty((len(numbers), arrays[next(iter(addresses))].shape[1]))
            for rank, address in addresses.items():
                values[address] = arrays[rank]
        return values[:, 0] if values.shape[1] == 1 else values.T

    def edges(self) -> Array:
        """The two cells of each inner face of the whole mesh: [2, faces].

        Raises:
            SolverError: a file of the mesh cannot be read.
        """
        if self._edges is None:
            owners, neighbours = (self._labels(self._mesh(None) / name) for name in ("owner", "neighbour"))
            self._edges = np.stack([owners[: len(neighbours)], neighbours])  # the inner faces come first
        return self._edges

    def _expanded(self, rank: int | None, values: CellValues) -> Array:
        """A value that all cells have, for each of them."""
        if not values.is_uniform:
            return values.values
        if rank not in self._num_cells:
            self._num_cells[rank] = num_cells_of(self._mesh(rank))
        return np.repeat(values.values, self._num_cells[rank], axis=0)

    def _address(self, rank: int) -> Array:
        if rank not in self._addresses:
            self._addresses[rank] = self._labels(self._mesh(rank) / "cellProcAddressing")
        return self._addresses[rank]

    def _labels(self, path: Path) -> Array:
        path = path if path.exists() else path.with_name(path.name + ".gz")
        try:
            return label_list(read_foam(path)).astype(np.intp)
        except ValueError as error:
            raise wrong_file(path, error) from error

    def _mesh(self, rank: int | None) -> Path:
        case = self._folder if rank is None else self._folder / f"processor{rank}"
        return case / "constant" / "polyMesh"
