"""Runs a generator plug-in as a job: `python [-m mpi4py] -m melissa_like.client [--mpi]`, started by the launcher.

With `python -m mpi4py` an exception on one rank ends the whole MPI job instead of leaving the others to wait.
"""

import os
import sys
from pathlib import Path

from melissa_like.client.environment import RUN_DIR_VARIABLE
from melissa_like.client.job import Client
from melissa_like.client.runner import read_solver_call, run_plugin
from melissa_like.errors import ConnectionRefusedByStudyError, StudyStoppedError
from melissa_like.plugins import look_in


def main() -> int:
    """The exit code: 0 when no simulation is left, 3 when the study told the job to stop."""
    look_in(Path.cwd())
    comm = None
    if "--mpi" in sys.argv[1:]:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    call = read_solver_call(Path(os.environ[RUN_DIR_VARIABLE]))
    try:
        run_plugin(call.resolve(), call.options, Client(comm), comm)
    except (StudyStoppedError, ConnectionRefusedByStudyError) as stop:
        sys.stderr.write(f"{type(stop).__name__}: {stop}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
