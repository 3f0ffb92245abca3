"""Standard streams that are closed, full, or read by nobody: a command says so in a line and goes on to its end."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LOST", "lost_output_passed_on", "open_standard_streams", "told_of_lost_output"]

#: Errors that say that an output cannot be written any more.
LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)
_FAILED = 1


def open_standard_streams() -> None:
    """Let those that were closed lead nowhere, so that no file or socket of ours gets their numbers."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


class _OutputLost(BaseException):
    """Not an `Exception`: Hydra prints a traceback of whatever a study raises."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def lost_output_passed_on() -> Iterator[None]:
    """Let the news that the output cannot be written through whoever prints other exceptions."""
    try:
        yield
    except OSError as error:
        if error.errno not in LOST or error.filename is not None:
            raise
        raise _OutputLost(error) from error


@contextmanager
def told_of_lost_output() -> Iterator[None]:
    """Leave with an exit code and one line on the error stream if the output cannot be written.

    Raises:
        SystemExit: with the code of what was done, or 1 if that was 0.
    """
    code: object = 0
    try:
        try:
            yield
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
    except (OSError, _OutputLost) as lost:
        error = lost.error if isinstance(lost, _OutputLost) else lost
        if error.errno not in LOST:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again at its end
        sys.stderr.write(f"melissa-like: the output could not be written ({error.strerror})\n")
        code = code or _FAILED
    sys.exit(code)  # type: ignore[arg-type]
