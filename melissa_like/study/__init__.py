"""The control plane's decisions: which simulations exist, their attempts, what is delivered, when to stop.

`StudyState.handle(event, now)` returns commands and does nothing else; `Journal` keeps the events, and `replay` makes
the same state of them again, from the newest snapshot on. All are owned by the launcher's loop. An event is what a peer
said, or what happened to a job or a clock; a command tells a peer something, or asks the executor or the sampler for
something. Nothing here knows a socket, a thread, a clock, or torch.

| part | what it knows |
|---|---|
| `Ledger` | every simulation: where it stands, its attempts |
| `SampleBooks` | which samples of them are delivered, dropped, given up |
| `Listing` | which simulations will still come |
| `Jobs`, `ServerLife` | what runs |
| `Clocks`, `FailurePolicy` | how long, and how often |
| `vetting` | what a peer may say |

Each of them says itself, by `snapshot` and `from_snapshot`, what a snapshot holds of it; `snapshots` is their file.
"""

from melissa_like.study.journal import Entry, Journal, read_journal
from melissa_like.study.ledger import Ledger, SimulationState
from melissa_like.study.replay import Replayed, replay
from melissa_like.study.settings import StudySettings
from melissa_like.study.snapshots import Launches, SnapshotContent
from melissa_like.study.state import StudyState

__all__ = [
    "Entry",
    "Journal",
    "Launches",
    "Ledger",
    "Replayed",
    "SimulationState",
    "SnapshotContent",
    "StudySettings",
    "StudyState",
    "read_journal",
    "replay",
]
