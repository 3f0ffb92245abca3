"""`connect`: four lines for a solver with its own main."""

import atexit
import os
from contextlib import ExitStack
from typing import Any

from melissa_like.client.job import Client
from melissa_like.client.session import Session
from melissa_like.errors import StudyStoppedError
from melissa_like.protocol import Connection
from melissa_like.transport import Transport

__all__ = ["connect"]


def connect(
    comm: Any = None,
    *,
    transport: Transport | None = None,
    connection: Connection | None = None,
    job: str | None = None,
) -> Session:
    """Connect a solver with its own main: one simulation, then the end of the program.

    Every rank calls it, once. The session's `close` ends the connection as well. A rank whose program ends before, for
    whatever reason, tells the launcher why and ends the other ranks. Arguments and errors as for `Client`.

    Raises:
        SolverError: it was called before; the launcher would take the second hello for a repetition of the first.
        StudyStoppedError: no simulation is left.
    """
    with ExitStack() as stack:
        client = Client(comm, transport=transport, connection=connection, job=job, single=True)
        session = stack.enter_context(client).next_session()
        if session is None:
            raise StudyStoppedError("no simulation is left for this job")
        stack.pop_all()  # the session ends the connection
        atexit.register(_abandon, session, os.getpid())
        return session


def _abandon(session: Session, pid: int) -> None:
    if os.getpid() == pid:  # not in a child that was forked
        session.abandon()
