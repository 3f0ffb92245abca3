"""`melissa-like resume SWEEP_DIR`: a sweep that was interrupted goes on with what is missing."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from melissa_like.errors import ConfigurationError, LeaseError
from melissa_like.launcher.lease import take_lease
from melissa_like.launcher.resume import with_overrides
from melissa_like.launcher.sweep import Sweep, is_missing, renewed
from melissa_like.launcher.sweep_end import close_sweep
from melissa_like.launcher.sweep_file import SWEEP_FILE, read_sweep, write_sweep
from melissa_like.launcher.sweep_plan import planned_config, started_in, studies_at_a_time
from melissa_like.launcher.sweep_run import run_studies

__all__ = ["note_resumed", "resume_sweep"]


def resume_sweep(folder: Path, overrides: Sequence[str], tell: Callable[[str], object]) -> int:
    """Run what is missing of a sweep, print its table, and return the worst exit code of all its studies.

    The working directory becomes that in which the sweep was started.

    Args:
        folder: of the sweep.
        overrides: KEY=VALUE, of what may change in a study that goes on; `launcher.max_studies` is the sweep's.
        tell: told what is being done.

    Raises:
        ConfigurationError: the folder holds no sweep, cannot be written, or an override is refused.
        LeaseError: another process works on the sweep.
    """
    try:
        lease = take_lease(folder, tell=tell)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error}") from None
    with lease:
        rows = read_sweep(folder)
        due = [row.number for row in rows if is_missing(row)]
        composed = [with_overrides(planned_config(folder, number), overrides) for number in due]
        for number in due:
            if rows[number].outcome == "running":
                reason = "the sweep was killed before there was a verdict"
                rows[number] = replace(rows[number], outcome="killed", reason=reason)
            elif rows[number].outcome == "not run":
                rows[number] = replace(rows[number], outcome="waiting", reason="")
        sweep = Sweep(folder, rows)
        tell(f"{folder}: {len(rows) - len(due)} of {len(rows)} studies stay as they are, {len(due)} go on")
        _go_to(started_in(folder), tell)
        code = 1 if any(row.outcome == "failed" for row in rows) else 0
        if due:
            at_a_time = studies_at_a_time(composed[0])
            ran = run_studies(sweep, due, at_a_time=at_a_time, overrides=overrides, keep_lease=lease.keep)
            code = max(code, ran)
        return max(code, close_sweep(sweep))


def note_resumed(run_dir: Path, report: Mapping[str, Any]) -> None:
    """Note in the table of its sweep how a study has ended that was resumed by itself; nothing if it is of none.

    While a process works on the sweep, it alone writes the table: it looks at all reports when it ends.

    Raises:
        ConfigurationError: the table cannot be read or written.
    """
    folder = run_dir.parent
    if not (folder / SWEEP_FILE).exists():
        return
    try:
        with take_lease(folder):
            rows = read_sweep(folder)
            rows = [renewed(row, report) if row.folder and folder / row.folder == run_dir else row for row in rows]
            write_sweep(folder, rows)
    except LeaseError as error:
        sys.stderr.write(f"melissa-like: the table of the sweep is left to who works on it ({error})\n")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error}") from None


def _go_to(folder: Path, tell: Callable[[str], object]) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        tell(f"the sweep was started in {folder}, which is not here ({error.strerror}): it goes on in {Path.cwd()}")
