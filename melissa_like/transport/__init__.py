"""How things travel: parts of fields to server ranks, control messages to and from the launcher.

A `Transport` makes four kinds of ends: `PartSender` and `PartReceiver` (PUSH/PULL), `ControlServer` and `ControlClient`
(ROUTER/DEALER); a `ControlServer` has two doors, one for solver jobs and one for server ranks. `zmq_transport` carries
them over TCP, and payloads between processes of one node through `shared_memory`; its `gate` secures every socket, and
its `doorkeeper` lets in who may connect. `in_memory` is its twin inside one process, where there are no strangers. Both
pass one contract suite. Small parts travel together, in `bundles`. `own_host` says under which address of its host a
process is reached. An end belongs to the thread that uses it; only `wake` may be called from elsewhere. Contents are
opaque; torch is never imported.
"""

from melissa_like.transport.interface import (
    ControlClient,
    ControlServer,
    Door,
    PartReceiver,
    PartSender,
    Peer,
    Received,
    Target,
    Transport,
)

__all__ = [
    "ControlClient",
    "ControlServer",
    "Door",
    "PartReceiver",
    "PartSender",
    "Peer",
    "Received",
    "Target",
    "Transport",
]
