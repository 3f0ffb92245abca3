"""Logs of jobs: opened before the job starts, quoted when it fails."""

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["log_tail", "open_log"]

#: What `log_tail` reads at most: a solver may have written gigabytes, or one line without an end.
_TAIL_BYTES = 64 * 1024


def open_log(path: Path) -> BinaryIO:
    """Opens a job's log for adding to its end and for reading, and creates it with its parents.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")  # O_APPEND forbids to fold it
    log.seek(0, os.SEEK_END)
    return log


def log_tail(path: Path, num_lines: int = 20) -> str:
    """The last lines of a log, for an error message.

    Args:
        path: the log; a missing file counts as an empty one, because the job may have failed before it wrote.
        num_lines: how many at most; fewer when the last 64 KiB hold fewer.

    Returns:
        The lines joined by newlines, without the last newline; bytes that are not UTF-8 appear as U+FFFD.
    """
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-num_lines:]) if num_lines > 0 else ""
