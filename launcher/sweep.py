"""A sweep: `-m` runs studies, some at a time. Here is what is known of all of them, kept in the sweep's folder.

The folder has the table (`sweep_file`), below `planned/` the configuration of each study as it was composed, and a
numbered folder per study. One process at a time works on a sweep: it holds the lease of its folder, and alone writes
the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.rundir import REPORT_FILE, resume_command
from melissa_like.launcher.summary import is_to_be_continued, read_report
from melissa_like.launcher.sweep_file import SWEEP_FILE, SweepRow, figures_of, write_sweep

__all__ = ["Sweep", "is_missing", "new_sweep"]

_NOTHING_CAME = ("waiting", "running", "not run", "killed", "refused")


def is_missing(row: SweepRow) -> bool:
    """Whether a sweep that goes on runs this study: it never ran, was interrupted, or its launcher was killed.

    One that was refused is tried again: it costs nothing, and what it lacked may be there now. One that failed stays.
    """
    return row.outcome in _NOTHING_CAME or is_to_be_continued(row.outcome, row.reason)


class Sweep:
    """The rows of a sweep; each change is written at once, so that nothing is lost when the sweep is ended.

    Args:
        folder: of the sweep; exists.
        rows: of its studies, in their order.
    """

    def __init__(self, folder: Path, rows: Sequence[SweepRow]) -> None:
        self.folder = folder
        self.rows = list(rows)

    def begin(self, number: int) -> None:
        """A study begins, or goes on."""
        self._change(number, outcome="running", reason="")

    def end(self, number: int, outcome: str, reason: str, figures: Mapping[str, float]) -> None:
        """A study has ended."""
        self._change(number, outcome=outcome, reason=reason, figures=figures)

    def close(self) -> None:
        """No other study will be run; what was done to one by hand meanwhile is noted as well.

        Raises:
            ConfigurationError: the folder cannot be written any more; the rows are as they are.
        """
        for row in self.rows:
            if row.outcome == "waiting":
                self.rows[row.number] = replace(row, outcome="not run", reason="the sweep was ended before")
            elif (self.folder / row.folder / REPORT_FILE).exists():
                self.rows[row.number] = renewed(row, read_report(self.folder / row.folder))
        write_sweep(self.folder, self.rows)

    def _change(self, number: int, **changes: Any) -> None:
        self.rows[number] = replace(self.rows[number], **changes)
        write_sweep(self.folder, self.rows)


def renewed(row: SweepRow, report: Mapping[str, Any]) -> SweepRow:
    """The row of a study that has this report."""
    return replace(row, outcome=str(report["outcome"]), reason=str(report["reason"]), figures=figures_of(report))


def new_sweep(folder: Path, planned: Sequence[tuple[Mapping[str, str], str]]) -> Sweep:
    """Begin a sweep: all its studies wait.

    Args:
        folder: of the sweep; exists.
        planned: the value of each swept key, and the folder below that of the sweep, of each study.

    Raises:
        ConfigurationError: the folder holds a sweep already, or cannot be written.
    """
    if (folder / SWEEP_FILE).exists():
        raise ConfigurationError(
            f"run_dir {folder} already holds a sweep ({SWEEP_FILE} is there): choose another run_dir, remove it, or go "
            f"on with that sweep by `{resume_command(folder)}`"
        )
    rows = [
        SweepRow(number=number, swept=swept, figures={}, folder=below) for number, (swept, below) in enumerate(planned)
    ]
    sweep = Sweep(folder, rows)
    write_sweep(folder, sweep.rows)
    return sweep
