"""Jobs of a batch scheduler.

A `Scheduler` is the commands and formats of one scheduler, pure text: `Slurm`; `Pbs`, `Oar` and `Flux`, which were
written after their manuals and not run on a real one. A `Tracker` decides, from the scheduler's list and from end
records, how each job fares; pure too. A `Conversation` runs the commands, and `BatchExecutor` is the `Executor` that a
configuration names, with the scheduler as one of its arguments. Another scheduler is one class more.

On a compute node, `start.py` stands above each process of a job: it writes the job's log and, last, its end record.

One thread, `batch-executor`, runs the commands: one `poll` for all jobs, whatever their number. The launcher's loop
never waits for a scheduler, except in `find`.

Never imports torch, mpi4py, zmq or hydra.
"""

from melissa_like.launcher.executors.batch.executor import BatchExecutor
from melissa_like.launcher.executors.batch.flux import Flux
from melissa_like.launcher.executors.batch.oar import Oar
from melissa_like.launcher.executors.batch.pbs import Pbs
from melissa_like.launcher.executors.batch.scheduler import (
    Answer,
    Fate,
    Listed,
    Phase,
    Scheduler,
    Start,
    Submission,
)
from melissa_like.launcher.executors.batch.site import SiteSettings
from melissa_like.launcher.executors.batch.slurm import Slurm

__all__ = [
    "Answer",
    "BatchExecutor",
    "Fate",
    "Flux",
    "Listed",
    "Oar",
    "Pbs",
    "Phase",
    "Scheduler",
    "SiteSettings",
    "Slurm",
    "Start",
    "Submission",
]
