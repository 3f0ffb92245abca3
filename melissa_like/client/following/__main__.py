"""The process of a follower: `python -m melissa_like.client.following`, started by the launcher."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from melissa_like.client.environment import run_dir_from_environment
from melissa_like.client.following.call import read_follow_call
from melissa_like.client.following.follower import follow, root_of
from melissa_like.client.following.tree import become_subreaper
from melissa_like.client.job import Client
from melissa_like.errors import (
    ConfigurationError,
    ConnectionRefusedByStudyError,
    ProgramFailedError,
    SolverError,
    StudyStoppedError,
)
from melissa_like.plugins import look_in


class _EndedError(StudyStoppedError):
    """The job was canceled."""


def _end(number: int, frame: object) -> NoReturn:
    raise _EndedError(f"the job was ended by {signal.Signals(number).name}")


def main() -> int:
    """The exit code: 0 when no simulation is left, 1 if the program failed, 2 if the job cannot start, 3 when told to.

    A job that is ended by SIGTERM ends its program first, and then itself by that signal.
    """
    look_in(Path.cwd())
    become_subreaper()
    signal.signal(signal.SIGTERM, _end)
    try:
        run_dir = run_dir_from_environment()
        call = read_follow_call(run_dir)
        follow(call.recipe(), Client(), root_of(call.work_dir, run_dir))
    except _EndedError:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except (StudyStoppedError, ConnectionRefusedByStudyError) as stop:
        sys.stderr.write(f"{type(stop).__name__}: {stop}\n")
        return 3
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")  # the launcher quotes the last lines of the log
        return 2
    except (ProgramFailedError, SolverError) as error:
        sys.stderr.write(f"{error}\n")  # reported already
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
