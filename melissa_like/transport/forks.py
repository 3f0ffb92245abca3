"""A process that was forked must leave the sockets and the shared memory of the other alone: both would write there."""

import os

from melissa_like.errors import TransportError

__all__ = ["require_same_process"]


def require_same_process(pid: int) -> None:
    """Refuse to use in another process what was opened in this one.

    Raises:
        TransportError: it was opened before a fork.
    """
    if os.getpid() != pid:
        raise TransportError(
            f"process {os.getpid()} was forked from process {pid}, which has connected, and cannot use its connection: "
            "connect in the process that sends, after the fork"
        )
