"""The control plane's decisions: which simulations exist, their attempts, what is delivered, when to stop.

`StudyState.handle(event, now)` returns commands and does nothing else; `Journal` keeps the events. Both are owned by
the launcher's loop. Nothing here knows a socket, a thread, a clock, or torch.
"""

from melissa_like.study.journal import Entry, Journal, read_journal
from melissa_like.study.simulations import SimulationState
from melissa_like.study.state import StudySettings, StudyState

__all__ = ["Entry", "Journal", "SimulationState", "StudySettings", "StudyState", "read_journal"]
