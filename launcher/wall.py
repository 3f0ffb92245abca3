"""When the launcher must have ended: what is configured, or else when the job ends in which it runs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from melissa_like.config import LauncherConfig, walltime_s
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.own_job import own_job, time_left_s

__all__ = ["WALLTIME_IS_NEAR", "Wall", "told_by_signal", "wall_of"]

#: How the reason of a study begins that was stopped in time.
WALLTIME_IS_NEAR = "launcher.walltime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """An end that is known from the beginning.

    Attributes:
        seconds: until then.
        text: the reason of a study that is stopped in time.
    """

    seconds: float
    text: str


def wall_of(
    launcher: LauncherConfig,
    environment: Mapping[str, str] = os.environ,
    time_left: Callable[[str], float | None] = time_left_s,
) -> Wall | None:
    """How long this launcher may run; None: as long as it takes.

    Blocks until Slurm has answered, if the launcher runs in a job of Slurm and `launcher.walltime` is null.

    Args:
        launcher: of the configuration.
        environment: of this process.
        time_left: seconds that a job has left, by its id.

    Raises:
        ConfigurationError: there is no time for anything but the end.
    """
    given = walltime_s(launcher)
    if given is not None:
        return Wall(seconds=given, text=f"{WALLTIME_IS_NEAR} = {given:g} s is near")
    job = own_job(environment)
    left = None if job is None else time_left(job)
    if left is None:
        return None
    end_s = launcher.save_timeout_s + launcher.grace_s
    if left <= end_s:
        raise ConfigurationError(
            f"Slurm job {job} ends in {left:g} s, but the last launcher.save_timeout_s + launcher.grace_s = {end_s:g} "
            "s are for saving and ending: start in a job that has more time, or allow less for these"
        )
    return Wall(seconds=left, text=f"{WALLTIME_IS_NEAR}: the end of Slurm job {job} is near")


def told_by_signal(name: str) -> str:
    """The reason of a study that is stopped because a signal says that the end of the launcher's job is near."""
    return f"{WALLTIME_IS_NEAR}: {name} has told that the launcher's time is nearly over"
