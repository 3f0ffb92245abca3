"""NPY and NPZ files."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap

from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import Name
from melissa_like.client.readers.folder import without, wrong_file

__all__ = ["read_npy"]


def read_npy(path: Path, names: Sequence[Name], *, mapped: bool = False) -> Contents:
    """The arrays of these names in an NPZ file; that of an NPY file under the first of them.

    Args:
        path: of a complete file: what cuts off a file that is mapped kills the process that reads it.
        names: of arrays.
        mapped: an NPY file is not read at once, but where it is looked at.

    Raises:
        SolverError: no such file, not of this format, cut off, or without one of the arrays.
    """
    try:
        if mapped and path.suffix == ".npy":
            return Contents({names[0]: open_memmap(path, mode="r")})
        with path.open("rb") as file:  # not by its name: numpy leaves a broken archive open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if len(names) > 1:
                    raise wrong_file(
                        path, f"it is one array without a name, and {', '.join(map(str, names))} are needed"
                    )
                return Contents({names[0]: loaded})
            missing = [name for name in names if str(name) not in loaded]
            if missing:
                raise without(path, "array", missing[0], loaded.files)
            return Contents({name: loaded[str(name)] for name in names})
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise wrong_file(path, error) from error
