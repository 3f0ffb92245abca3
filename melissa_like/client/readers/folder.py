"""What is said of a folder and its files when something is wrong with them."""

import os
from pathlib import Path

from melissa_like.errors import SolverError

__all__ = ["UnreadableFileError", "nothing_found", "what_is_in", "without", "wrong_file"]

_MOST_NAMES = 12


def nothing_found(folder: Path, looked_for: str) -> SolverError:
    """The program has ended, and a reader has found nothing."""
    return SolverError(
        f"the program has ended and has left nothing that the reader looks for: {looked_for}; its folder {folder} "
        f"holds {what_is_in(folder)}"
    )


def what_is_in(folder: Path) -> str:
    """The first names in a folder, those in its folders with it."""
    names = []
    for path, folders, files in os.walk(folder):
        folders.sort()
        relative = os.path.relpath(path, folder)
        names += [name if relative == "." else f"{relative}/{name}" for name in sorted(files)]
        if len(names) > _MOST_NAMES:
            return f"{', '.join(names[:_MOST_NAMES])} and more"
    return ", ".join(names) or "no file"


class UnreadableFileError(SolverError):
    """A file that should be complete cannot be read."""


def wrong_file(path: Path, reason: object) -> UnreadableFileError:
    """The error of a file that cannot be read."""
    return UnreadableFileError(
        f"{path} cannot be read: {reason}; if the program was still writing it, say with `complete` when its files are "
        "complete: renamed, next or end"
    )


def without(path: Path, what: str, name: object, there: object) -> SolverError:
    """A file lacks something that a field was to come from.

    Args:
        path: of the file.
        what: is missing, as "column" or "dataset".
        name: of it.
        there: names of what there is.
    """
    names = [str(each) for each in there] if isinstance(there, list | tuple) else [str(there)]
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return SolverError(
        f"{path} has no {what} {name!r}: it has {', '.join(names[:_MOST_NAMES]) or 'none'}{more}; correct fields or "
        "static in the options of the reader"
    )
