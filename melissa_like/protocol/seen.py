"""Files that another host has just written: a file system that hosts share may show them some seconds later.

A client of NFS remembers for up to a minute that a file was not there, or which file had this name.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from melissa_like.protocol.connection import CONNECTION_FILE

__all__ = ["LAUNCHER_VARIABLE", "await_connection", "await_seen"]

#: Of a process that a launcher has started: the launcher's incarnation.
LAUNCHER_VARIABLE = "MELISSA_LIKE_LAUNCHER"

_PATIENCE_S, _LONG_PATIENCE_S = 10.0, 60.0
_LOOK_EVERY_S = 0.1
_INCARNATION = re.compile(rb"^launcher_incarnation (\d{1,9})$", re.MULTILINE)


def await_seen(*paths: Path, patience_s: float = _PATIENCE_S) -> None:
    """Block until all of these files are seen, for so long at most; whoever reads one that is not there says so.

    Args:
        paths: of the files.
        patience_s: for all of them together.
    """
    deadline = time.monotonic() + patience_s
    for path in paths:
        _await(path, path.exists, deadline)


def await_connection(run_dir: Path, environment: Mapping[str, str], *, patience_s: float | None = None) -> None:
    """Block until the connection file is seen, of the launcher that has started this process or of a later one.

    Args:
        run_dir: of the study.
        environment: of this process.
        patience_s: how long at most; None: ten seconds for one that is not there, a minute for that of an earlier
            launcher.
    """
    path, started_by = run_dir / CONNECTION_FILE, environment.get(LAUNCHER_VARIABLE, "")
    await_seen(path, patience_s=_PATIENCE_S if patience_s is None else patience_s)
    if not started_by.isdecimal() or not path.exists():
        return

    def is_new() -> bool:
        found = _INCARNATION.search(path.read_bytes())
        return found is not None and int(found[1]) >= int(started_by)

    _await(path, is_new, time.monotonic() + (_LONG_PATIENCE_S if patience_s is None else patience_s))


def _await(path: Path, is_seen: Callable[[], bool], deadline: float) -> None:
    while True:
        with suppress(OSError):  # not there, or a handle that the server does not know any more
            if is_seen():
                return
        if time.monotonic() >= deadline:
            return
        with suppress(OSError):  # makes such a client ask again
            os.listdir(path.parent)
        time.sleep(_LOOK_EVERY_S)
