"""What follows from the configuration: routing, what is saved, processes, limits in bytes and seconds."""

import math

from melissa_like.config.capacities import capacity_nbytes
from melissa_like.config.quantities import bytes_in, seconds_in
from melissa_like.config.schema import Config, LauncherConfig, SolverConfig, TransportConfig
from melissa_like.errors import ConfigurationError
from melissa_like.records import Routing, Window

__all__ = [
    "log_limit_bytes",
    "max_pending_bytes",
    "num_processes",
    "routing_of",
    "saves_buffer",
    "walltime_s",
]

_LEAST_LOG_BYTES = 64 * 1024


def routing_of(transport: TransportConfig, window: Window | None = None) -> Routing:
    """The routing by its name, or the one that samples need.

    Args:
        transport: as configured.
        window: what a sample is; None: one time step, or nobody knows yet.

    Raises:
        ConfigurationError: no such routing, or one that tears windows apart.
    """
    if transport.routing is None:
        return Routing.SAMPLE if window is None else Routing.TRAJECTORY
    if window is not None and transport.routing.lower() == "sample":
        raise ConfigurationError(
            f"transport.routing is 'sample', which spreads the time steps of a simulation over the server ranks, but a "
            f"sample of training.task is a window of {window.length} of them: write transport.routing=null"
        )
    try:
        return Routing[transport.routing.upper()]
    except KeyError:
        raise ConfigurationError(
            f"transport.routing is {transport.routing!r}: write one of {', '.join(r.name.lower() for r in Routing)}"
        ) from None


def saves_buffer(config: Config, window: Window | None = None) -> bool:
    """Whether a checkpoint holds the samples of the buffer, or leaves them out for their size.

    Args:
        config: of the study.
        window: what a sample is; None: one time step, or nobody knows yet.

    Raises:
        ConfigurationError: the limit is no number of bytes.
    """
    given = config.training.checkpoint.buffer_limit
    limit = given if isinstance(given, int) and not isinstance(given, bool) else bytes_in(given)
    if given is not None and (limit is None or limit < 0):
        raise ConfigurationError(
            f"training.checkpoint.buffer_limit is {given!r}: write a number of bytes, as a number or as text "
            "('8 GiB'), or null to save any buffer"
        )
    if limit is None or config.buffer.views_per_sample is not None:
        return True
    return capacity_nbytes(config, window) <= limit


def log_limit_bytes(launcher: LauncherConfig) -> int:
    """Of the log of one job.

    Raises:
        ConfigurationError: no number of bytes, or too few for a beginning and an end.
    """
    given = launcher.log_limit
    nbytes = given if isinstance(given, int) and not isinstance(given, bool) else bytes_in(given)
    if nbytes is None or nbytes < _LEAST_LOG_BYTES:
        raise ConfigurationError(
            f"launcher.log_limit is {given!r}: write a number of bytes, as a number or as text ('10 MiB'), not below "
            f"{_LEAST_LOG_BYTES}"
        )
    return nbytes


def num_processes(solver: SolverConfig) -> int:
    """Of one job: what `solver.launch` starts, and what is reserved."""
    return solver.num_ranks if solver.num_processes is None else solver.num_processes


def max_pending_bytes(solver: SolverConfig) -> int:
    """Of what a program that is followed may have on the disk that is not sent.

    Raises:
        ConfigurationError: no number of bytes.
    """
    given = solver.max_pending_bytes
    nbytes = given if isinstance(given, int) and not isinstance(given, bool) else bytes_in(given)
    if nbytes is None or nbytes < 1:
        raise ConfigurationError(
            f"solver.max_pending_bytes is {given!r}: write a number of bytes, as a number or as text ('4 GiB')"
        )
    return nbytes


def walltime_s(launcher: LauncherConfig) -> float | None:
    """How long the launcher may run, in seconds; None: as long as it takes.

    Raises:
        ConfigurationError: no such time, or too short for anything but its end.
    """
    given = launcher.walltime
    if given is None:
        return None
    seconds = seconds_in(given)
    end_s = launcher.save_timeout_s + launcher.grace_s
    if seconds is None or not math.isfinite(seconds):
        raise ConfigurationError(
            f"launcher.walltime is {given!r}: write seconds (5400), hours, minutes and seconds as text ('1:30:00', "
            "with days in front '1-12:00:00'), or null"
        )
    if seconds <= end_s:
        raise ConfigurationError(
            f"launcher.walltime is {given!r}, but its last launcher.save_timeout_s + launcher.grace_s = {end_s:g} s "
            "are for saving and ending: allow more time, or less for these"
        )
    return seconds
