"""Tables as text, a file that is complete."""

from collections.abc import Sequence
from pathlib import Path

from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import Array, Name
from melissa_like.client.readers.folder import wrong_file
from melissa_like.client.readers.table import Dialect, TableLines

__all__ = ["read_table"]


def read_table(
    path: Path, names: Sequence[Name], *, dialect: Dialect, times: Sequence[Name] = (), whole: Sequence[Name] = ("*",)
) -> Contents:
    """Columns of a complete file.

    Args:
        path: of the file.
        names: of columns.
        dialect: how it is written.
        times: those of which the first row counts.
        whole: those that stand for the whole table.

    Raises:
        SolverError: the file cannot be read, a column is not there, or a cell is no number.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise wrong_file(path, error) from error
    columns = [name for name in names if name not in whole]
    arrays: dict[Name, Array] = {}
    if columns:
        arrays |= dict(zip(columns, _rows(path, lines, dialect, columns).T, strict=True))
    if len(columns) < len(names):
        rows = _rows(path, lines, dialect, ["*"])
        arrays |= {name: rows for name in names if name in whole}
    return Contents({name: array[:1] if name in times else array for name, array in arrays.items()})


def _rows(path: Path, lines: Sequence[str], dialect: Dialect, wanted: Sequence[Name]) -> Array:
    rows = TableLines(dialect, wanted, str(path)).take(lines)
    if not len(rows):
        raise wrong_file(path, "it has no row of numbers")
    return rows
