"""Executors: they talk to a scheduler, so that the launcher need not know which one.

An `Executor` takes `JobSpec`s, starts them, and tells of every change by a `JobUpdate`; the states are those of PSI/J.
It tags each job with its study and name and returns a durable handle, so that another launcher can `find` what still
runs and cancel it. `LocalExecutor` starts processes on this machine, `InlineExecutor` runs jobs as threads of this
process, `BatchExecutor` (in `batch`) submits them to a batch scheduler, `StepsExecutor` starts them inside an
allocation of Slurm. All executors pass one contract suite (tests/contract/test_executors.py); another one, written as a
user would, is tests/plugins/scheduler.py.

What is started is none of their business: see `melissa_like.launcher.commands`.

How the launcher waits: `poll` never blocks; `on_change`, given at construction, is called as soon as `poll` has
something new, so the control loop sleeps until then instead of looking again and again.

| thread | runs |
|---|---|
| the caller's (the launcher's main thread) | `submit`, `find`, `poll`, `cancel`, `close` |
| `local-executor`, one per open `LocalExecutor` | waits for the ends of jobs |
| `job-NAME`, one per job of an `InlineExecutor` | the job |
| `slurm-steps`, one per open `StepsExecutor` | waits for the commands of Slurm, and deals with news of steps |
| `batch-executor`, one per open `BatchExecutor` | talks to the scheduler, looks for end records |

No orphans: every local job lives under its own `guard` process, which ends the job's whole tree when the job is
canceled, when its main process has ended, and when the launcher has gone, even by SIGKILL.

A job that cannot be started is a failed job, not an exception: its update says why, and whether to try again.

`launch_command` puts the MPI start command of a site in front of a solver's command; `search_path` is where both are
looked for.

Never imports torch, mpi4py, zmq or hydra.
"""

from melissa_like.launcher.executors.batch import BatchExecutor
from melissa_like.launcher.executors.batch.site import SiteSettings, site_settings
from melissa_like.launcher.executors.command import DEFAULT_LAUNCH, launch_command, search_path
from melissa_like.launcher.executors.inline import InlineExecutor
from melissa_like.launcher.executors.interface import (
    Executor,
    FoundJob,
    JobSpec,
    JobState,
    JobUpdate,
    Role,
    Traits,
    WritesScripts,
)
from melissa_like.launcher.executors.local import LocalExecutor
from melissa_like.launcher.executors.logs import log_tail
from melissa_like.launcher.executors.steps import STEP_SETTINGS, StepsExecutor

__all__ = [
    "DEFAULT_LAUNCH",
    "STEP_SETTINGS",
    "BatchExecutor",
    "Executor",
    "FoundJob",
    "InlineExecutor",
    "JobSpec",
    "JobState",
    "JobUpdate",
    "LocalExecutor",
    "Role",
    "SiteSettings",
    "StepsExecutor",
    "Traits",
    "WritesScripts",
    "launch_command",
    "log_tail",
    "search_path",
    "site_settings",
]
