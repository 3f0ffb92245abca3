"""Jobs as `srun` steps inside one allocation of a Slurm cluster."""

import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from melissa_like.errors import ConfigurationError, DeadlineExceededError
from melissa_like.launcher.executors.allocation import Allocation, Component, allocation_of
from melissa_like.launcher.executors.batch.site import SiteSettings, site_settings
from melissa_like.launcher.executors.interface import FoundJob, JobSpec, JobState, JobUpdate, Role, Traits
from melissa_like.launcher.executors.local import LocalExecutor
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.refusals import may_pass, refusal_of
from melissa_like.launcher.executors.srun import Srun
from melissa_like.launcher.executors.step_board import StepBoard
from melissa_like.launcher.executors.step_life import Phase
from melissa_like.launcher.executors.step_watch import StepWatch
from melissa_like.launcher.executors.step_words import StepName
from melissa_like.launcher.executors.tags import jobs_of_study
from melissa_like.launcher.executors.updates import Updates

__all__ = ["STEP_SETTINGS", "StepsExecutor"]

#: Settings of a site that mean something for a step, or for the allocation in the script of `--write-script`.
STEP_SETTINGS = frozenset(SiteSettings.__dataclass_fields__) - {"time_s"} | {"time"}

_OUTSIDE = (
    "launcher=slurm_steps runs inside an allocation, and this process is in none (SLURM_JOB_ID is not set): write a "
    "batch script by `melissa-like run ... --write-script FILE` and submit it by `sbatch FILE`, or allocate nodes "
    "first, as by `salloc --no-kill --ntasks=8`, and run the same command there; launcher=slurm submits jobs from here"
)
_SRUN_GRACE_S = 5.0  # for an `srun` that was told to end its step, before it is killed itself
#: For Slurm to answer what still runs of a study.
_SILENT_S = 120.0
_KILL_S = 10.0
_AGAIN_S = 1.0
_STATES = {Phase.HELD: JobState.QUEUED, Phase.STARTED: JobState.QUEUED, Phase.ACTIVE: JobState.ACTIVE}


class StepsExecutor:
    """Starts every job by an `srun` of its own, which a `LocalExecutor` keeps under a guard (see the module `guard`).

    Slurm finds the place of a step, and gives it cores that no other step has. A step for which there is no room waits
    and is QUEUED, in the words of `srun`. Server ranks come first: a gang starts once there is room for all of it, and
    solver jobs wait until it has. When `srun` has ended in any way but well, a job's end is only told when Slurm does
    not list its step any more; what it still lists is killed.

    Args:
        on_change: see `Executor`.
        server: settings of the site for server ranks; see `SiteSettings`.
        solver: for solver jobs.
        server_group: component of a heterogeneous allocation in which the server ranks are started.
        solver_group: and the solver jobs.
        mpi: plug-in of `srun` that starts the ranks of a solver: "pmi2" for the MPI of the `mpi` extra, "pmix" for most
            others; null: the site's own choice.
        commands: folder of srun, squeue and scancel, where they are not on PATH.
        grace_s: between SIGTERM and SIGKILL.
        log_limit_bytes: of a job's log.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        server: Mapping[str, Any] | None = None,
        solver: Mapping[str, Any] | None = None,
        server_group: int = 0,
        solver_group: int = 0,
        mpi: str | None = "pmi2",
        commands: str = "",
        grace_s: float = 5.0,
        log_limit_bytes: int = 16 * 2**20,
    ) -> None:
        allocation = allocation_of(os.environ)
        self.traits = Traits(on_this_host=False, starts_ranks=True, refusal="" if allocation is not None else _OUTSIDE)
        self._sruns = {
            role: Srun(
                site=site_settings(given, f"launcher.executor.{role}", accepts=STEP_SETTINGS, name="a step of Slurm"),
                component=_component(allocation, group, f"launcher.executor.{role}_group"),
                group=group if allocation is not None and len(allocation.components) > 1 else None,
                mpi="none" if role is Role.SERVER else mpi or "",
                program=os.path.join(commands, "srun"),
            )
            for role, given, group in ((Role.SERVER, server, server_group), (Role.SOLVER, solver, solver_group))
        }
        self._grace_s = grace_s
        self._updates = Updates(on_change)
        self._watch = StepWatch(commands, self._deal, on_change)
        self._local = LocalExecutor(on_change=self._watch.nudge, grace_s=_SRUN_GRACE_S, log_limit_bytes=log_limit_bytes)
        self._changed = threading.Condition()  # guards the board, and with it the local executor
        self._board = StepBoard(self._sruns, self._updates, self._local, self._watch, grace_s=grace_s)
        self._is_open = False

    def __enter__(self) -> Self:
        """Starts the threads that watch `srun`s and steps."""
        self._local.__enter__()
        self._watch.start()
        self._is_open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes with twice the grace, and a little for Slurm, as its deadline."""
        self.close(2 * self._grace_s + _SRUN_GRACE_S)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """Hands jobs to `srun`, or keeps them until others have started; see `Executor.submit`."""
        self._check_open("submit")
        for spec in specs:
            if not (spec.program or spec.command):
                raise ValueError(f"job {spec.name!r} has no command: a StepsExecutor starts processes")
        self._updates.admit(specs)
        handles: dict[str, str] = {}
        with self._changed:
            for together in _gangs(specs):
                refused = next(filter(None, map(self._refusal_of, together)), None)
                if refused is None:
                    handles.update(self._board.hold(together, study))
                    continue
                for spec in together:
                    self._updates.refuse(spec.name, refused[0], retry=refused[1])
            if any(spec.role is Role.SERVER for spec in specs):
                self._board.put_back_what_waits()
            self._board.advance()
        return handles

    def script(self, specs: Sequence[JobSpec]) -> tuple[str, ...]:
        """The `srun` of each job, on no particular node; see `WritesScripts.script`."""
        return tuple(shlex.join(self._sruns[spec.role].command(spec, name=spec.name)) for spec in specs)

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """The steps that carry the study's tag in their name, and `srun`s that wait; see `Executor.find`.

        Blocks until Slurm has answered.

        Raises:
            DeadlineExceededError: it did not for two minutes.
        """
        self._check_open("find")
        listed = self._look_now()
        with self._changed:
            sruns = {job.name: job.handle for job in self._local.find(study)}
            for name in dict.fromkeys((*sruns, *listed)):
                parsed = StepName.parse(name)
                if parsed is not None and parsed.study == study:
                    self._board.adopt(name, parsed.job, srun=sruns.get(name, ""), is_listed=name in listed)
            self._board.advance()
            return tuple(
                FoundJob(name=step.job, handle=name, state=_STATES[step.phase])
                for name, step in self._board.steps.items()
                if not step.asks_for and step.ended is None and _study_of(name) == study
            )

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`.

        Raises:
            BaseException: what ended the thread that deals with news, should that ever happen.
        """
        if self._watch.failure is not None:
            raise self._watch.failure
        return self._updates.take()

    def cancel(self, handle: str) -> None:
        """Ends a step, or what waits to be one; see `Executor.cancel`."""
        with self._changed:
            step = self._board.steps.get(handle)
            if step is None:
                self._cancel_stranger(handle)
            else:
                self._board.cancel(step)
            if self._is_open:
                self._board.advance()

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when Slurm lists no step of it any more; see `Executor.close`.

        Args:
            timeout_s: what is then still there gets SIGKILL; the call returns at the latest 15 s later. Closing again
                does nothing.
        """
        if not self._is_open:
            return
        with self._changed:
            for step in tuple(self._board.steps.values()):
                self._board.cancel(step)
            self._board.advance()
            if not self._changed.wait_for(self._is_over, timeout_s):
                self._board.kill()
                self._board.advance()
                self._changed.wait_for(self._is_over, _KILL_S)
            self._is_open = False
            left = sorted(step.job for step in self._board.steps.values())
        self._watch.close()
        self._local.close(_SRUN_GRACE_S)
        if self._watch.failure is not None:
            raise self._watch.failure
        if left:
            raise DeadlineExceededError(
                f"the steps of {', '.join(left)} could not be ended: look at them with `squeue --steps`, and end them "
                "with `scancel`"
            )

    def _is_over(self) -> bool:
        return self._board.is_clear or self._watch.failure is not None

    def _deal(self) -> None:
        """There is news: of an `srun`, or of Slurm."""
        with self._changed:
            self._board.advance()
            self._changed.notify_all()

    def _check_open(self, what: str) -> None:
        if not self._is_open:
            raise ValueError(f"{what} was called on an executor that is not open: call it within `with`")

    def _refusal_of(self, spec: JobSpec) -> tuple[str, bool] | None:
        """Why a job cannot work, and whether another try makes sense; None if nothing speaks against it."""
        srun = self._sruns[spec.role]
        program = (srun.program,) if srun.site.changes_programs else spec.program or spec.command
        seen_here = replace(spec, command=program)
        refusal = refusal_of(seen_here)
        if refusal is not None:
            return refusal, False
        try:
            open_log(spec.log).close()
        except OSError as error:
            return f"job {spec.name!r} cannot be started: {error}", may_pass(error)
        return None

    def _look_now(self) -> Mapping[str, str]:
        deadline = time.monotonic() + _SILENT_S
        while (steps := self._watch.look().steps) is None:
            if time.monotonic() > deadline:
                raise DeadlineExceededError(
                    f"squeue did not answer for {_SILENT_S:g} s, so nobody knows what still runs of the study: try "
                    "again when it does"
                )
            time.sleep(_AGAIN_S)
        return steps

    def _cancel_stranger(self, handle: str) -> None:
        """End a step that another executor has started, and the `srun` above it if it is on this host."""
        parsed = StepName.parse(handle)
        if parsed is None or not self._is_open:
            return
        for job in jobs_of_study(parsed.study):
            if job.name == handle:
                self._local.cancel(job.handle)
        self._board.strangers.add(handle)


def _gangs(specs: Iterable[JobSpec]) -> list[list[JobSpec]]:
    """Jobs that start together, in their order; one that has no gang is by itself."""
    gangs: dict[str, list[JobSpec]] = {}
    for spec in specs:
        gangs.setdefault(spec.gang or f"\0{spec.name}", []).append(spec)
    return list(gangs.values())


def _study_of(name: str) -> str | None:
    parsed = StepName.parse(name)
    return None if parsed is None else parsed.study


def _component(allocation: Allocation | None, group: int, key: str) -> Component:
    """The nodes that a role is started on.

    Raises:
        ConfigurationError: the allocation has no such component.
    """
    if allocation is None:
        return Component(job_id="")
    if not 0 <= group < len(allocation.components):
        raise ConfigurationError(
            f"{key} is {group}, but the allocation has {len(allocation.components)} components, which are counted from "
            "0: allocate more, as by `salloc PART : PART`, or write the number of one"
        )
    return allocation.components[group]
