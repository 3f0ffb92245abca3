"""One screen about a sweep: its table, and the state of each study that runs."""

import sys
from pathlib import Path

from melissa_like.launcher.lease import newest_lease
from melissa_like.launcher.rundir import STATUS_FILE, resume_command
from melissa_like.launcher.summary import print_status
from melissa_like.launcher.sweep import is_missing
from melissa_like.launcher.sweep_file import read_sweep
from melissa_like.launcher.sweep_table import print_rows

__all__ = ["print_sweep_status"]


def print_sweep_status(folder: Path) -> None:
    """Print it, and how the sweep goes on if nobody works on it and something is missing.

    Raises:
        ConfigurationError: the table cannot be read.
    """
    rows = read_sweep(folder)
    print_rows(rows)
    for row in rows:
        if row.outcome == "running" and (folder / row.folder / STATUS_FILE).exists():
            print_status(folder / row.folder)
    said = newest_lease(folder)[1]
    has_ended = said is None or said.given_back or said.holder.lives() is False
    if has_ended and any(is_missing(row) for row in rows):
        sys.stdout.write(f"go on with: {resume_command(folder.resolve())}\n")
