"""What the launcher tells a solver job by way of its environment: the run directory and the job's name."""

import os
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.protocol import Connection, read_connection
from melissa_like.protocol.seen import await_connection

__all__ = [
    "JOB_VARIABLE",
    "RUN_DIR_VARIABLE",
    "connection_from_environment",
    "job_from_environment",
    "run_dir_from_environment",
]

RUN_DIR_VARIABLE = "MELISSA_LIKE_RUN_DIR"
JOB_VARIABLE = "MELISSA_LIKE_JOB"


def connection_from_environment() -> Connection:
    """Where the launcher is, now.

    Raises:
        ConfigurationError: not started by a launcher, or its study is gone.
    """
    return read_connection(run_dir_from_environment())


def run_dir_from_environment() -> Path:
    """The run directory of the study; blocks for a minute at most, until this host sees what is in it.

    Raises:
        ConfigurationError: not started by a launcher.
    """
    run_dir = Path(_value_of(RUN_DIR_VARIABLE))
    await_connection(run_dir, os.environ)
    return run_dir


def job_from_environment() -> str:
    """This job's name.

    Raises:
        ConfigurationError: not started by a launcher.
    """
    return _value_of(JOB_VARIABLE)


def _value_of(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise ConfigurationError(
            f"{variable} is not set: start the solver by `melissa-like run`, or try it alone with `melissa-like check`"
        ) from None
