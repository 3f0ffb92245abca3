"""OpenFOAM's files: the values of all cells of a field, and lists of labels, as text or binary.

Only what a time folder and a decomposition hold is understood; dictionaries with macros and includes are not
(OpenFOAM's user guide, "Basic input/output file format").
"""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from melissa_like.client.readers.fields import Array
from melissa_like.client.readers.folder import wrong_file

__all__ = ["CellValues", "cell_values", "label_list", "num_cells_of", "read_foam"]

#: Numbers of a value of each type.
_COMPONENTS = {"scalar": 1, "label": 1, "vector": 3, "sphericalTensor": 1, "symmTensor": 6, "tensor": 9}
_HEADER = re.compile(rb"FoamFile\s*\{(.*?)\}", re.DOTALL)
_ENTRY = re.compile(rb'(\w+)\s+("[^"]*"|[^;]*);')
_INTERNAL = re.compile(rb"^\s*internalField\s+", re.MULTILINE)
_UNIFORM = re.compile(rb"uniform\s+([^;]*);")
_NONUNIFORM = re.compile(rb"nonuniform\s+List<(\w+)>\s*")
_BLANK = re.compile(rb"(?:\s|//[^\n]*\n|/\*.*?\*/)*", re.DOTALL)
_LENGTH = re.compile(rb"(\d+)\s*")
_PARENTHESIS, _LAST, _BRACE = re.compile(rb"\)"), re.compile(rb"\)\s*\)"), re.compile(rb"\}")
_NO_PARENTHESES = bytes.maketrans(b"()", b"  ")
_NUM_CELLS = re.compile(rb"nCells:\s*(\d+)")


class CellValues(NamedTuple):
    """Values of a field: [cells, components], or [1, components] if all cells have the same."""

    values: Array
    is_uniform: bool


def read_foam(path: Path) -> bytes:
    """The content of a file, compressed or not.

    Raises:
        SolverError: it cannot be read.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise wrong_file(path, error) from error


def cell_values(content: bytes) -> CellValues:
    """The entry `internalField` of a field.

    Args:
        content: of the file.

    Raises:
        ValueError: there is none, or it is cut off, or of a type that is not known.
    """
    header = _header(content)
    entry = _INTERNAL.search(content)
    if entry is None:
        raise ValueError("it has no entry internalField")
    uniform = _UNIFORM.match(content, entry.end())
    if uniform is not None:
        return CellValues(_numbers(uniform[1])[None], is_uniform=True)
    listed = _NONUNIFORM.match(content, entry.end())
    if listed is None:
        raise ValueError("its internalField is neither uniform nor a nonuniform List<...>")
    kind = listed[1].decode()
    if kind not in _COMPONENTS:
        raise ValueError(f"its values are of the type {kind}: {', '.join(_COMPONENTS)} are known")
    return CellValues(_list(content, listed.end(), header, kind), is_uniform=False)


def label_list(content: bytes) -> Array:
    """The numbers of a file that is one list of labels, as `cellProcAddressing`.

    Args:
        content: of the file.

    Raises:
        ValueError: it is not, or is cut off.
    """
    header = _header(content)
    begin = _HEADER.search(content)
    assert begin is not None, "it has a header"
    return _list(content, begin.end(), header, "label")[:, 0]


def num_cells_of(mesh: Path) -> int:
    """Cells of the mesh in a folder `polyMesh`.

    Raises:
        SolverError: its file `owner` cannot be read.
    """
    path = next((path for path in (mesh / "owner", mesh / "owner.gz") if path.exists()), mesh / "owner")
    content = read_foam(path)
    noted = _NUM_CELLS.search(content)
    if noted is not None:
        return int(noted[1])
    neighbour = path.with_name(path.name.replace("owner", "neighbour"))
    try:
        return 1 + max(int(label_list(each).max(initial=-1)) for each in (content, read_foam(neighbour)))
    except ValueError as error:
        raise wrong_file(path, error) from error


def _header(content: bytes) -> Mapping[bytes, bytes]:
    found = _HEADER.search(content)
    if found is None:
        raise ValueError("it has no header FoamFile, so it is none of OpenFOAM's files")
    return {key: value.strip(b'"') for key, value in _ENTRY.findall(found[1])}


def _list(content: bytes, at: int, header: Mapping[bytes, bytes], kind: str) -> Array:
    """A list from its length on: `3(1 2 3)`, `3{1}` if all are the same, or its bytes between the parentheses."""
    blank = _BLANK.match(content, at)
    length = _LENGTH.match(content, at if blank is None else blank.end())
    if length is None:
        raise ValueError("a list in it has no length")
    num_values, components = int(length[1]), _COMPONENTS[kind]
    sign, begin = content[length.end() : length.end() + 1], length.end() + 1
    if num_values == 0:
        return np.empty((0, components))
    if sign == b"{":
        return np.repeat(_numbers(content[begin : _found(content, _BRACE, begin)])[None], num_values, axis=0)
    if sign != b"(":
        raise ValueError(f"a list of {num_values} values in it has no parenthesis")
    if header.get(b"format") == b"binary":
        dtype = _dtype(header, kind)
        if len(content) <= begin + num_values * components * dtype.itemsize:
            raise ValueError(f"it is cut off: there are fewer bytes than those of the {num_values} values of a list")
        return np.frombuffer(content, dtype, num_values * components, begin).reshape(num_values, components)
    numbers = _numbers(content[begin : _found(content, _LAST if components > 1 else _PARENTHESIS, begin)])
    if numbers.size != num_values * components:
        raise ValueError(f"a list of {num_values} values of {components} numbers in it has {numbers.size} numbers")
    return numbers.reshape(num_values, components)


def _found(content: bytes, end: re.Pattern[bytes], at: int) -> int:
    found = end.search(content, at)
    if found is None:
        raise ValueError("it is cut off: a list in it has no end")
    return found.start()


def _numbers(text: bytes) -> Array:
    try:
        return np.array(text.translate(_NO_PARENTHESES).split(), np.float64)
    except ValueError:
        raise ValueError(f"{text[:80].decode(errors='replace')!r} are no numbers") from None


def _dtype(header: Mapping[bytes, bytes], kind: str) -> np.dtype[np.generic]:
    """As the header says under `arch`, or as most are."""
    arch = header.get(b"arch", b"LSB;label=32;scalar=64")
    sign = ">" if b"MSB" in arch else "<"
    if kind == "label":
        return np.dtype(f"{sign}i{8 if b'label=64' in arch else 4}")
    return np.dtype(f"{sign}f{4 if b'scalar=32' in arch else 8}")
