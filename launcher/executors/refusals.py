"""Why a job cannot be started on this machine, and whether another try makes sense."""

import errno
import os
import shutil

from melissa_like.launcher.executors.interface import JobSpec

__all__ = ["may_pass", "refusal_of"]

#: What the next minute may bring to an end: the machine is short of something, or a file system does not answer.
_PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)


def may_pass(error: OSError) -> bool:
    """Whether a failure of the operating system may be gone at another try."""
    return error.errno in _PASSING


def refusal_of(spec: JobSpec) -> str | None:
    """Why the job could not work here: no such directory or program; None if nothing speaks against it."""
    if not spec.working_directory.is_dir():
        return f"job {spec.name!r} is to run in {spec.working_directory}, which is not a directory: create it first"
    program, path = spec.command[0], spec.environment.get("PATH", os.environ.get("PATH", os.defpath))
    # As exec will see it: a relative path with a slash starts at the job's directory.
    if shutil.which(str(spec.working_directory / program) if "/" in program else program, path=path) is not None:
        return None
    where = "an executable file" if "/" in program else f"on PATH ({path})"
    return (
        f"job {spec.name!r} starts the command {program!r}, which is not {where}: install it, or write the full "
        "path of an executable in the solver's command or start command"
    )
