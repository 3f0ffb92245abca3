"""Files that another host has just written: a file system that hosts share may show them a few seconds later."""

import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["await_seen"]

_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.1


def await_seen(*paths: Path, patience_s: float = _PATIENCE_S) -> None:
    """Block until all of these files are seen, for so long at most; whoever reads one that is not there says so.

    The folder is listed each time, because a client of NFS that remembers that a file was not there believes itself,
    until it looks at the folder again.

    Args:
        paths: of the files.
        patience_s: for all of them together.
    """
    deadline = time.monotonic() + patience_s
    for path in paths:
        while not _is_seen(path) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)


def _is_seen(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError:  # not there, or a handle that the server does not know any more
        with suppress(OSError):
            os.listdir(path.parent)
        return False
    return True
