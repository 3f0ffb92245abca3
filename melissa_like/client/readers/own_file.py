"""A file of its own, in which a program leaves once what does not change: points, connectivity, material."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from melissa_like.client.readers.contents import Contents, ReadFile
from melissa_like.client.readers.fields import Array, Name
from melissa_like.client.readers.folder import UnreadableFileError, what_is_in
from melissa_like.client.readers.hdf5_file import read_hdf5
from melissa_like.client.readers.mesh_file import read_mesh
from melissa_like.client.readers.npy_file import read_npy
from melissa_like.client.readers.pattern import Pattern
from melissa_like.client.readers.table import Dialect
from melissa_like.client.readers.table_file import read_table
from melissa_like.errors import SolverError

__all__ = ["OwnFile", "ReadOwnFile", "not_there", "own_file"]

#: Reads these names from a file of the simulation's folder: folder, file, names.
ReadOwnFile = Callable[[Path, str, Sequence[Name]], Contents]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFile:
    """One file, in the format that its suffix says.

    Attributes:
        name: relative to the folder of the simulation.
        read: how.
    """

    name: str
    read: ReadOwnFile

    @classmethod
    def said(cls, key: str, name: Any, others: ReadOwnFile | None, dialect: Dialect) -> "OwnFile":
        """The file of this name.

        Args:
            key: of the configuration, for messages.
            name: as it is written there.
            others: how a file of another suffix is read; None: not at all.
            dialect: of tables.

        Raises:
            ValueError: it is no name of one file in the folder, or nothing says how it is read.
        """
        if not isinstance(name, str):
            raise ValueError(f"{key} is {name!r}: write the name of a file in the folder of the simulation")
        if Pattern(name).placeholders or "*" in name:
            raise ValueError(f"{key} is {name!r}, which are several files: write the name of one, without placeholders")
        formats = _formats(dialect)
        known = formats.get(PurePosixPath(name).suffix.lower())
        read = others if known is None else own_file(known)
        if read is None:
            raise ValueError(f"{key} is {name!r}: its suffix says how it is read, and there are {', '.join(formats)}")
        return cls(name=name, read=read)

    def arrays(self, folder: Path, names: Sequence[Name]) -> Mapping[Name, Array]:
        """The arrays of these names, when the first step is complete.

        Raises:
            SolverError: the file is not there, cannot be read, or lacks one of them.
        """
        return self.read(folder, self.name, names).arrays


def own_file(read: ReadFile) -> ReadOwnFile:
    """Read a file that must be there.

    Raises:
        SolverError: it is not there; or what `read` raises.
    """

    def there(folder: Path, file: str, names: Sequence[Name]) -> Contents:
        if not (folder / file).is_file():
            raise not_there(folder, file)
        return read(folder / file, names)

    return there


def not_there(folder: Path, file: str) -> SolverError:
    """The first step is complete, and a file with what is sent once is not there."""
    return SolverError(
        f"{file} is not there, and the first time step is complete: what is sent once is read from it then, so let the "
        f"program write it before, or solver.files bring it; the folder {folder} holds {what_is_in(folder)}"
    )


def _formats(dialect: Dialect) -> dict[str, ReadFile]:
    """By suffix; meshes and tables too in whose names a reader has no part."""
    return {
        **dict.fromkeys([".npy", ".npz"], read_npy),
        **dict.fromkeys([".h5", ".hdf5", ".nc"], _read_hdf5),
        **dict.fromkeys([".txt", ".csv", ".tsv", ".dat"], partial(read_table, dialect=dialect)),
        **dict.fromkeys([".vtu", ".pvtu", ".vtp", ".vti", ".vtr", ".vts", ".vtk"], read_mesh),
    }


def _read_hdf5(path: Path, names: Sequence[Name]) -> Contents:
    """It may be the file of all steps, which still grows: then it can only be read in HDF5's mode for that."""
    try:
        return read_hdf5(path, names)
    except UnreadableFileError as error:
        try:
            return read_hdf5(path, names, swmr=True)
        except UnreadableFileError:
            raise error from None
