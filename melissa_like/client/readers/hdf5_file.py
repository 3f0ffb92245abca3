"""HDF5 files, opened so that the program that writes them notices nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import Array, Name
from melissa_like.client.readers.folder import without, wrong_file
from melissa_like.client.readers.optional import library

__all__ = ["dataset_names", "open_hdf5", "read_hdf5", "value_of", "whole"]

_READER = "Hdf5Files"


@contextmanager
def open_hdf5(path: Path, *, swmr: bool = False) -> Iterator[Any]:
    """Open a file for reading, without the lock at which the program's next opening of it would fail.

    Raises:
        SolverError: it is not there, cut off, of another format, or still open for writing.
    """
    h5py = library("h5py", _READER)
    try:
        file = h5py.File(path, "r", locking=False, swmr=swmr)
    except OSError as error:
        raise wrong_file(path, error) from error
    with file:
        yield file


def value_of(file: Any, name: Name, path: Path) -> Any:
    """A dataset, not read yet, or the value of an attribute: `group/dataset`, `group/dataset@attribute`, `@attribute`.

    Raises:
        SolverError: there is none of that name.
    """
    inside, is_attribute, attribute = str(name).partition("@")
    holder = file if not inside.strip("/") else file.get(inside)
    if is_attribute:
        if holder is not None and attribute in holder.attrs:
            return np.asarray(holder.attrs[attribute])
        raise without(path, "attribute", name, [n for n in dataset_names(file, with_attributes=True) if "@" in n])
    if not hasattr(holder, "shape"):
        raise without(path, "dataset", name, dataset_names(file))
    return holder


def read_hdf5(path: Path, names: Sequence[Name], *, swmr: bool = False) -> Contents:
    """Datasets and attributes of a complete file, or of what is complete in one that grows (`swmr`).

    Raises:
        SolverError: the file cannot be read, or one of them is not there.
    """
    with open_hdf5(path, swmr=swmr) as file:
        return Contents({name: whole(value_of(file, name, path), path) for name in names})


def whole(value: Any, path: Path, where: tuple[slice | int, ...] = ()) -> Array:
    """Read a dataset, or a part of it.

    Raises:
        SolverError: its bytes are not there, or need a filter that is not installed.
    """
    try:
        return np.asarray(value[where])
    except OSError as error:
        raise wrong_file(path, error) from error


def dataset_names(file: Any, *, with_attributes: bool = False) -> list[str]:
    """Full names of all datasets, without the first slash; those of attributes, with their `@`, if asked."""
    found = [f"@{attribute}" for attribute in file.attrs] if with_attributes else []

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found.append(name)
        if with_attributes:
            found.extend(f"{name}@{attribute}" for attribute in item.attrs)

    file.visititems(visit)
    return found
