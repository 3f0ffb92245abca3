"""A launcher that is out of time has its own batch job run again, if that is wanted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from melissa_like.config import load_config
from melissa_like.launcher.exit_codes import OUT_OF_TIME
from melissa_like.launcher.own_job import is_batch_job, own_job, requeue
from melissa_like.launcher.rundir import resume_command
from melissa_like.launcher.summary import exit_code

__all__ = ["run_again"]


def run_again(report: Mapping[str, Any], run_dir: Path, tell: Callable[[str], object]) -> None:
    """Requeue the job in which this process runs, if `launcher.requeue` wants it and the study was stopped in time.

    The last thing that a launcher does: Slurm ends it by that.

    Args:
        report: of the study.
        run_dir: of the study.
        tell: told what is done, or why it is not.
    """
    job = own_job()
    if job is None or exit_code(report) != OUT_OF_TIME or not load_config(run_dir).launcher.requeue:
        return
    if not is_batch_job():
        tell(
            f"launcher.requeue is true, but Slurm job {job} has no script that could be run again: {_by_hand(run_dir)}"
        )
        return
    tell(f"Slurm job {job} is run again, to go on with the study")
    if refused := requeue(job):
        tell(f"Slurm job {job} cannot be run again: {refused}; {_by_hand(run_dir)}")


def _by_hand(run_dir: Path) -> str:
    return f"go on with {resume_command(run_dir)}"
