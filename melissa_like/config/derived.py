"""What follows from the configuration: routing, the share of one server rank, sizes in bytes."""

import math
import re
from typing import Any

from melissa_like.config.layouts import layout_of
from melissa_like.config.memory import available_memory, shown
from melissa_like.config.schema import BufferConfig, Config, LauncherConfig, SolverConfig, TransportConfig
from melissa_like.errors import ConfigurationError
from melissa_like.records import Layout, Routing, Window

__all__ = [
    "capacity",
    "capacity_per_rank",
    "default_capacity",
    "log_limit_bytes",
    "max_pending_bytes",
    "num_processes",
    "routing_of",
    "sample_nbytes",
    "saves_buffer",
    "walltime_s",
    "watermark_per_rank",
]

#: Of a buffer whose capacity is not given: samples at most, and the share of the memory as one over this.
_MOST_SAMPLES, _MEMORY_SHARE = 4000, 4
_LEAST_LOG_BYTES = 64 * 1024
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


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


def sample_nbytes(layout: Layout, window: Window | None) -> int:
    """Bytes of the fields of a sample."""
    return layout.sample_nbytes * (1 if window is None else window.length)


def default_capacity(layout: Layout, available: int) -> str:
    """What a buffer holds where nothing is said, as `buffer.capacity` says it: 4000 samples in a quarter of the memory.

    Args:
        layout: of the study.
        available: bytes of memory.

    Raises:
        ConfigurationError: not one time step fits.
    """
    allowed = available // _MEMORY_SHARE
    if allowed < layout.sample_nbytes:
        raise ConfigurationError(
            f"a sample takes {shown(layout.sample_nbytes)} and a quarter of the memory that is free here is "
            f"{shown(allowed)}, so the buffer would hold none: write buffer.capacity, send smaller fields, or take a "
            "machine with more memory"
        )
    return f"{_MOST_SAMPLES} within {allowed} B"


def capacity(buffer: BufferConfig, layout: Layout, window: Window | None = None) -> int:
    """Samples of all server ranks together; without a number, as many as `default_capacity` says now.

    Args:
        buffer: as configured.
        layout: of the study.
        window: what a sample is; None: one time step, or nobody knows yet.

    Raises:
        ConfigurationError: no such capacity.
    """
    given = default_capacity(layout, available_memory()) if buffer.capacity is None else buffer.capacity
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    number, within, size = given.partition("within") if isinstance(given, str) else ("", "", "")
    nbytes = _bytes_in(size if within else given)
    if nbytes is None or (within and not number.strip().isdecimal()):
        raise ConfigurationError(
            f"buffer.capacity is {given!r}: write a number of samples (1000), of bytes as text ('2 GiB'), both ('1000 "
            "within 2 GiB'), or null for as many as the memory allows"
        )
    fitting = nbytes // sample_nbytes(layout, window)
    return min(int(number), fitting) if within else fitting


def saves_buffer(config: Config, window: Window | None = None) -> bool:
    """Whether a checkpoint holds the samples of the buffer, or leaves them out for their size.

    Args:
        config: of the study.
        window: as in `capacity`.

    Raises:
        ConfigurationError: the limit is no number of bytes.
    """
    given = config.training.checkpoint.buffer_limit
    limit = given if isinstance(given, int) and not isinstance(given, bool) else _bytes_in(given)
    if given is not None and (limit is None or limit < 0):
        raise ConfigurationError(
            f"training.checkpoint.buffer_limit is {given!r}: write a number of bytes, as a number or as text "
            "('8 GiB'), or null to save any buffer"
        )
    if limit is None or config.buffer.views_per_sample is not None:
        return True
    layout = layout_of(config.solver)
    return capacity(config.buffer, layout, window) * sample_nbytes(layout, window) <= limit


def log_limit_bytes(launcher: LauncherConfig) -> int:
    """Of the log of one job.

    Raises:
        ConfigurationError: no number of bytes, or too few for a beginning and an end.
    """
    given = launcher.log_limit
    nbytes = given if isinstance(given, int) and not isinstance(given, bool) else _bytes_in(given)
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
    nbytes = given if isinstance(given, int) and not isinstance(given, bool) else _bytes_in(given)
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
    seconds = _seconds_in(given)
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


def _seconds_in(given: Any) -> float | None:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", given.strip()) if isinstance(given, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds


def _bytes_in(text: Any) -> int | None:
    """What a text such as '2 GiB' says; None if it says no number of bytes."""
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]i?)?B\s*", text) if isinstance(text, str) else None
    return None if match is None else int(float(match[1]) * _UNITS[match[2] or ""])


def capacity_per_rank(config: Config, window: Window | None = None) -> int:
    """Samples that one server rank holds: the global capacity divided, rounded up; `window` as in `capacity`."""
    return math.ceil(capacity(config.buffer, layout_of(config.solver), window) / config.launcher.num_server_ranks)


def watermark_per_rank(config: Config, window: Window | None = None) -> int:
    """The watermark of one server rank: the global one divided, rounded up; `window` as in `capacity`."""
    if config.buffer.watermark is None:
        return capacity_per_rank(config, window) // 5
    return math.ceil(config.buffer.watermark / config.launcher.num_server_ranks)
