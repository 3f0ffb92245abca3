"""From the parts of MPI ranks to complete samples.

An `Assembler` belongs to one server rank and is pure: `place` says where a part's payload goes, `add` says that it is
there, and returns the `Completed` sample when it was the last one; what does not belong gets a `Refusal`. No thread,
clock or socket inside; the receiving thread of a server rank calls it. Never imported here: zmq, torch.
"""

from melissa_like.assembly.assembler import Assembler
from melissa_like.assembly.partial import Placement, as_bytes
from melissa_like.assembly.parts import Completed, Reason, Refusal, Reservation

__all__ = ["Assembler", "Completed", "Placement", "Reason", "Refusal", "Reservation", "as_bytes"]
