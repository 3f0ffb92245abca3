"""From the buffer to batches on the device, and the agreement of the server ranks on the next training steps.

A `Loader` belongs to one server rank and owns one thread. The thread offers what its buffer holds, exchanges that with
the other ranks (`Collective`), computes the same `Plan` as they do, draws and gathers ahead into a ring of reused
memory, and starts the copy to the device. The trainer's thread iterates: each `Turn` is one training step that all
ranks make, with a `Batch` or, where nothing is left, without one. Asking for the next turn settles the last one's draw,
so a checkpoint knows which draws became training steps.

Where two ranks could wait for each other for ever, and why they do not:

- one rank is empty, another full: the put that waits opens every gate, the empty rank steps with zero weight;
- streams end unevenly: once all receptions are over, every rank steps until the fullest is empty;
- all a buffer holds is drawn ahead: those turns are with the trainer, who settles each before it asks for another;
- a rank fails: its last message says so, whatever the others are exchanging; the error travels behind the turns that
  were agreed before, so all trainers make the same number of steps first.

Never imported here: zmq, hydra, the transport, the study, `torch.distributed` (a `Collective` over it is given).
"""

from melissa_like.loading.agreement import (
    AgreementTerms,
    Plan,
    PlannedStep,
    RankState,
    ServerRankFailedError,
    Verdict,
    plan,
)
from melissa_like.loading.axes import BatchAxes
from melissa_like.loading.batch import Batch, Measurement, Moments, Turn, moments_of
from melissa_like.loading.collective import Collective, SoloCollective, ThreadCollective
from melissa_like.loading.from_samples import (
    batch_from_samples,
    field_of_sample,
    fields_from_samples,
    offsets_of,
    rows_of,
    static_of,
)
from melissa_like.loading.loader import Loader, LoaderCounters
from melissa_like.loading.preparation import LocalState

__all__ = [
    "AgreementTerms",
    "Batch",
    "BatchAxes",
    "Collective",
    "Loader",
    "LoaderCounters",
    "LocalState",
    "Measurement",
    "Moments",
    "Plan",
    "PlannedStep",
    "RankState",
    "ServerRankFailedError",
    "SoloCollective",
    "ThreadCollective",
    "Turn",
    "Verdict",
    "batch_from_samples",
    "field_of_sample",
    "fields_from_samples",
    "moments_of",
    "offsets_of",
    "plan",
    "rows_of",
    "static_of",
]
