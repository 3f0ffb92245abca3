"""From the parts of MPI ranks to complete samples.

An `Assembler` belongs to one server rank and is pure: `place` says where a part's payload goes, `add` says that it is
there, and returns the `Sample` when it was the last one; what does not belong gets a `Refusal`. A `Consumer` gives the
memory of a sample and takes it when it is complete: the buffer, the held-out set, what `check` looks with, one of
yours, or one that wraps another, as `FiniteCheck` does.

Where a study learns from windows, the samples of an assembler are still time steps, and its books are of windows: with
each step it says which windows are complete (`WindowTally`). `WindowForming` makes them, behind the finite check, which
looks at a value once, and before your own consumers, which are given windows.

No thread, clock or socket inside; the receiving thread of a server rank calls it. Never imported here: zmq, torch.
"""

from melissa_like.assembly.assembler import Assembler
from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.delivered import DeliveredSamples, OverSimulations, over_and_steps, owned
from melissa_like.assembly.finite import FiniteCheck
from melissa_like.assembly.once import OncePlacement
from melissa_like.assembly.partial import Placement, as_bytes
from melissa_like.assembly.refusals import Reason, Refusal
from melissa_like.assembly.tally import WindowTally
from melissa_like.assembly.windows import UnfitWindowError, WindowForming

__all__ = [
    "Assembler",
    "Consumer",
    "DeliveredSamples",
    "FiniteCheck",
    "OncePlacement",
    "OverSimulations",
    "Placement",
    "Reason",
    "Refusal",
    "UnfitWindowError",
    "WindowForming",
    "WindowTally",
    "as_bytes",
    "over_and_steps",
    "owned",
]
