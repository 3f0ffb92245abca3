"""`melissa-like resume`: a study or a sweep goes on."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from melissa_like.errors import MelissaLikeError
from melissa_like.launcher.exit_codes import INTERRUPTED, OUT_OF_TIME

__all__ = ["resume", "usage_of_resume"]

_RESUME = """usage: melissa-like resume RUN_DIR [KEY=VALUE ...]

Goes on with the study in RUN_DIR, however it ended: killed, interrupted, out of time, failed. What still runs of it is
ended first; then the server ranks load the newest checkpoint, and what it lacks is produced again. A study that has
completed goes on if more simulations are asked for.

  melissa-like resume runs/heat
  melissa-like resume runs/heat launcher.walltime=2:00:00 study.num_simulations=500 launcher.num_server_ranks=2

Of a sweep's folder, the studies that did not run or were interrupted are run, and the others stay as they are.

These keys may change, with all below them:
{may_change}
(transport.routing may not, and study.num_simulations upwards only). Anything else is refused with the reason.

Exit codes: 0 the study has ended in order, 1 it failed, 2 it was not resumed, {out_of_time} out of time
(launcher.walltime), {interrupted} interrupted.
"""


def usage_of_resume() -> str:
    """What the command is told by, with the keys that may change."""
    from melissa_like.config.changes import MAY_CHANGE

    may_change = textwrap.fill(", ".join(MAY_CHANGE), 100, initial_indent="  ", subsequent_indent="  ")
    return _RESUME.format(may_change=may_change, out_of_time=OUT_OF_TIME, interrupted=INTERRUPTED)


def resume(arguments: Sequence[str]) -> int:
    """The command, with what follows its name; gives its exit code."""
    from melissa_like.launcher.requeueing import run_again
    from melissa_like.launcher.resume import resume_study
    from melissa_like.launcher.summary import exit_code, print_report
    from melissa_like.launcher.sweep_file import SWEEP_FILE
    from melissa_like.launcher.sweep_resume import note_resumed, resume_sweep

    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        sys.stderr.write(usage_of_resume())
        return 2
    run_dir = Path(arguments[0]).resolve()

    def tell(text: str) -> None:
        sys.stderr.write(f"melissa-like: {text}\n")

    try:
        if (run_dir / SWEEP_FILE).exists():
            return resume_sweep(run_dir, arguments[1:], tell)
        report = resume_study(run_dir, arguments[1:], tell)
        if report is not None:
            note_resumed(run_dir, report)
    except MelissaLikeError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    if report is None:
        sys.stdout.write(f"{run_dir}: the study has completed: ask for more with study.num_simulations=N to go on\n")
        return 0
    print_report(report, run_dir)
    run_again(report, run_dir, tell)
    return exit_code(report)
