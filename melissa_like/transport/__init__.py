"""How things travel: parts of fields to server ranks, control messages to and from the launcher.

A `Transport` makes four kinds of ends: `PartSender` and `PartReceiver` (PUSH/PULL), `ControlServer` and `ControlClient`
(ROUTER/DEALER). `zmq_transport` carries them over TCP, and payloads between processes of one node through
`shared_memory`; `in_memory` is its twin inside one process. Both pass one contract suite. Small parts travel together,
in `bundles`. An end belongs to the thread that uses it; only `wake` may be called from elsewhere. Contents are opaque;
torch is never imported.
"""

from melissa_like.transport.interface import (
    ControlClient,
    ControlServer,
    PartReceiver,
    PartSender,
    Received,
    Target,
    Transport,
)

__all__ = ["ControlClient", "ControlServer", "PartReceiver", "PartSender", "Received", "Target", "Transport"]
