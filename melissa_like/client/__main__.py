"""Runs a generator plug-in as a job: `python [-m mpi4py] -m melissa_like.client [--mpi]`, started by the launcher.

With `python -m mpi4py` an exception on one rank ends the whole MPI job instead of leaving the others to wait.
"""

import sys
from pathlib import Path

from melissa_like.client.environment import run_dir_from_environment
from melissa_like.client.job import Client
from melissa_like.client.runner import read_solver_call, run_plugin
from melissa_like.errors import ConfigurationError, ConnectionRefusedByStudyError, StudyStoppedError
from melissa_like.plugins import look_in


def main() -> int:
    """The exit code: 0 when no simulation is left, 2 if the job cannot start, 3 when the study told it to stop."""
    look_in(Path.cwd())
    comm = None
    if "--mpi" in sys.argv[1:]:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    try:
        call = read_solver_call(run_dir_from_environment())
        run_plugin(call.resolve(), call.options, Client(comm), comm)
    except (StudyStoppedError, ConnectionRefusedByStudyError) as stop:
        sys.stderr.write(f"{type(stop).__name__}: {stop}\n")
        return 3
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")  # the launcher quotes the last lines of the log
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
