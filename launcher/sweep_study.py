"""The process of one study of a sweep: it runs the study, or goes on with it, and tells how that ended.

A process of its own, so that the death of one launcher is not that of the others. When the process of the sweep is
gone, however it ended, this one ends its study in order.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from melissa_like.config import CONFIG_FILE
from melissa_like.errors import ConfigurationError, LeaseError, MelissaLikeError, printable
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.lease import newest_lease
from melissa_like.launcher.resume import resume_study, with_overrides
from melissa_like.launcher.run import run_study
from melissa_like.launcher.streams import told_of_lost_output
from melissa_like.launcher.summary import exit_code, print_report, read_report
from melissa_like.launcher.sweep_file import figures_of
from melissa_like.launcher.sweep_plan import planned_config

__all__ = ["Ended", "command_of", "ended_of", "main"]

_PR_SET_PDEATHSIG = 1
#: For the launcher of an earlier sweep, which ends its study because that sweep is gone.
_LAST_ONE_ENDS_S = 120.0
_LOOK_AGAIN_S = 0.2
_NOT_RUN: dict[type[MelissaLikeError], str] = {ConfigurationError: "refused", LeaseError: "not run"}


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a study ended.

    Attributes:
        code: that a command for this study alone would leave with.
        outcome: as in the table of the sweep.
        figures: of its report, by the names of the table.
    """

    code: int
    outcome: str
    reason: str
    figures: dict[str, float] = {}


def ended_of(said: bytes, code: int) -> Ended:
    """How a study has ended by what its process has said of it; or what is to be said of one that could not.

    Args:
        said: all that came of it, perhaps nothing, or not all of it.
        code: that the process has left with; negative: the signal that has killed it.
    """
    try:
        return msgspec.json.decode(said, type=Ended)
    except msgspec.DecodeError:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Ended(code=1, outcome="killed", reason=f"its launcher {how}, without a verdict")


def command_of(sweep: Path, number: int, run_dir: Path, overrides: Sequence[str], tell_to: int) -> tuple[str, ...]:
    """The command line of the process.

    Args:
        sweep: the sweep's folder.
        number: of the study.
        run_dir: of the study.
        overrides: of what may change in a study that goes on.
        tell_to: the descriptor, inherited, to which it writes its `Ended`.
    """
    arguments = (str(os.getpid()), str(tell_to), str(sweep), str(number), str(run_dir), *overrides)
    return (sys.executable, "-P", "-m", "melissa_like.launcher.sweep_study", *arguments)


def main() -> None:
    """Entry of the process; leaves with the exit code of its study."""
    parent, tell_to, sweep, number, run_dir, *overrides = sys.argv[1:]
    os.set_inheritable(int(tell_to), False)  # not for the jobs of the study
    _end_with(int(parent))
    with told_of_lost_output(), open(int(tell_to), "wb") as sweep_hears:
        ended = _ended(lambda: _run(Path(sweep), int(number), Path(run_dir), overrides))
        sweep_hears.write(msgspec.json.encode(ended))
        sweep_hears.flush()
        sys.exit(ended.code)


def _end_with(parent: int) -> None:
    """Have this process told by SIGTERM, as by any user, when the one that has started it is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it was gone before that
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(run: Callable[[], dict[str, Any]]) -> Ended:
    try:
        report = run()
    except KeyboardInterrupt:
        return Ended(code=INTERRUPTED, outcome="not run", reason="it was interrupted before anything was started")
    except MelissaLikeError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        outcome = next((said for kind, said in _NOT_RUN.items() if isinstance(error, kind)), "failed")
        return Ended(code=2, outcome=outcome, reason=printable(str(error)))
    outcome, reason = report["outcome"], printable(report["reason"])
    return Ended(code=exit_code(report), outcome=outcome, reason=reason, figures=figures_of(report))


def _run(sweep: Path, number: int, run_dir: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The study from its beginning, or from where it was; its report is printed."""
    try:
        if (run_dir / CONFIG_FILE).exists():
            _await_the_last_one(run_dir)
            report = resume_study(run_dir, overrides, _tell) or read_report(run_dir)
        else:
            composed = with_overrides(planned_config(sweep, number), overrides)
            composed.run_dir = str(run_dir)  # the sweep may have been moved
            report = run_study(composed, run_dir)
    finally:
        with suppress(OSError):
            run_dir.rmdir()  # of a study that was refused; one in use is not empty
    print_report(report, run_dir)
    return report


def _await_the_last_one(run_dir: Path) -> None:
    """Block while another launcher ends the study, because its sweep was killed a moment ago."""
    deadline = time.monotonic() + _LAST_ONE_ENDS_S
    told = False
    while time.monotonic() < deadline:
        said = newest_lease(run_dir)[1]
        if said is None or said.given_back or not said.holder.lives():
            return
        if not told:
            told = True
            _tell(f"{run_dir}: waiting until its last launcher, {said.holder}, has ended")
        time.sleep(_LOOK_AGAIN_S)


def _tell(text: str) -> None:
    sys.stderr.write(f"melissa-like: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
