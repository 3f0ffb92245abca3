"""What a solver links with.

A generator plug-in needs nothing from here: the launcher runs it. A solver with its own main uses four lines::

    session = connect(comm)                                   # every rank, together
    for step in range(num_steps):
        session.send(step, {"temperature": local_rows})       # blocks of rows in rank order, or Part(array, offset)
    session.close()

A simulation with a mesh of its own says so first, `session.begin(extents={...}, static={...})`; a generator yields
`Beginning(extents={...}, static={...})`.

Nouns: a `Client` is one solver job's connection, a `Session` one simulation, a `Part` one rank's box of a field, values
that are `Scattered` those of one rank's points; an extent is a size that each simulation says itself. Everything runs
on the calling thread. Importing this package loads numpy, pyzmq and msgspec, and neither torch nor hydra; mpi4py only
when a communicator is given.
"""

from melissa_like.client.beginning import Beginning
from melissa_like.client.connect import connect
from melissa_like.client.job import Client
from melissa_like.client.parts import Part
from melissa_like.client.points import Scattered
from melissa_like.client.session import Session
from melissa_like.client.team import SerialCommunicator

__all__ = ["Beginning", "Client", "Part", "Scattered", "SerialCommunicator", "Session", "connect"]
