"""What the scheduler says of itself, of the site settings, and whether a job may be on two nodes."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from melissa_like.config import Config, LauncherConfig, num_processes
from melissa_like.errors import SchedulerError
from melissa_like.launcher.doctor.findings import Finding, bad, good, skipped
from melissa_like.launcher.doctor.judging_site import judge_allocation, judge_site, partition_of
from melissa_like.launcher.doctor.limits import LIMITS, Limits, read_limits
from melissa_like.launcher.executors import StepsExecutor
from melissa_like.launcher.executors.allocation import allocation_of
from melissa_like.launcher.executors.batch import BatchExecutor, Scheduler, SiteSettings, Slurm
from melissa_like.launcher.executors.batch.calls import run_command
from melissa_like.launcher.executors.batch.site import site_settings
from melissa_like.plugins import locate, make

__all__ = ["Site", "look_at_site"]

_ANSWER_S = 20.0
_SLOW_S = 5.0
_ROLES = ("server", "solver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What was found.

    Attributes:
        findings: in the order in which they are read.
        launcher: the configuration with which the probes are started.
        spans_nodes: by it the client ranks of the probe are on two nodes.
        answers: else nothing can be submitted.
    """

    findings: Sequence[Finding]
    launcher: LauncherConfig
    spans_nodes: bool = False
    answers: bool = True


def look_at_site(config: Config) -> Site:
    """Ask the scheduler; blocks until it has answered, for some seconds at most.

    Args:
        config: of the study.
    """
    launcher, executor = config.launcher, config.launcher.executor
    kind = locate(executor["_target_"], "launcher.executor._target_")
    if kind is StepsExecutor:
        return _inside_allocation(config)
    if kind is not BatchExecutor:
        return Site(findings=[skipped("scheduler", "this launcher has none that is known")], launcher=launcher)
    scheduler: Scheduler = make(executor["scheduler"], "launcher.executor.scheduler")
    findings, answers = _commands(scheduler)
    if not answers:
        return Site(findings=findings, launcher=launcher, answers=False)
    partitions = _partitions(scheduler)
    if not partitions:
        told = f"{scheduler.name} does not tell them: what it refuses is told of the jobs below"
        return Site(findings=[*findings, skipped("partitions and limits", told)], launcher=launcher)
    sites = {role: _settings(executor, role, scheduler) for role in _ROLES}
    needed = {"server": launcher.num_server_ranks, "solver": num_processes(config.solver)}
    fit = [judge_site(role, sites[role], partitions, needed[role]) for role in _ROLES]
    where = partition_of(sites["solver"], partitions)
    spans = where is not None and where.num_nodes > 1 and num_processes(config.solver) > 1
    return Site(findings=[*findings, *fit], launcher=_spread(launcher) if spans else launcher, spans_nodes=spans)


def _inside_allocation(config: Config) -> Site:
    allocation = allocation_of(os.environ)
    if allocation is None:
        return Site(findings=[skipped("the allocation", "this process is in none")], launcher=config.launcher)
    group = config.launcher.executor.get("solver_group", 0)
    spans = allocation.components[group].num_nodes > 1 and num_processes(config.solver) > 1
    fits = judge_allocation(allocation, config.launcher.num_server_ranks + num_processes(config.solver))
    findings, answers = _commands(Slurm())
    return Site(
        findings=[*findings, fits],
        launcher=_spread(config.launcher) if spans else config.launcher,
        spans_nodes=spans,
        answers=answers,
    )


def _spread(launcher: LauncherConfig) -> LauncherConfig:
    """The same, with solver jobs on two nodes."""
    solver = {**(launcher.executor.get("solver") or {}), "nodes": 2}
    return replace(launcher, executor={**launcher.executor, "solver": solver})


def _settings(executor: Mapping[str, Any], role: str, scheduler: Scheduler) -> SiteSettings:
    key = f"launcher.executor.{role}"
    return site_settings(executor.get(role), key, accepts=scheduler.accepts, name=scheduler.name)


def _commands(scheduler: Scheduler) -> tuple[Sequence[Finding], bool]:
    """What is found of its commands, and whether it answers."""
    query = scheduler.poll(())
    wanted = dict.fromkeys([query[0], scheduler.submit(Path("script"))[0], scheduler.cancel(())[0]])
    missing = [program for program in wanted if shutil.which(program) is None]
    check = f"commands of {scheduler.name}"
    if missing:
        advice = "start the launcher where jobs are submitted, or put the commands on PATH"
        return [bad(check, f"{', '.join(missing)} are not found", advice)], False
    there = good(check, ", ".join(wanted))
    check, began = f"{scheduler.name} answers", time.monotonic()
    try:
        called = run_command(query, _ANSWER_S)
        listed = scheduler.read_listed(called.code, called.stdout, called.stderr)
    except SchedulerError as error:
        advice = "ask the site whether it is down; a study waits for minutes, not longer"
        return [there, bad(check, str(error), advice)], False
    seconds = time.monotonic() - began
    told = f"in {seconds:.2f} s; it lists {len(listed)} jobs of yours"
    if seconds > _SLOW_S:
        advice = "raise launcher.executor.poll_interval_s, so that it is asked less often"
        return [there, bad(check, told, advice)], True
    return [there, good(check, told)], True


def _partitions(scheduler: Scheduler) -> Sequence[Limits]:
    """Those of Slurm; none of another scheduler, or where they are not told."""
    if not isinstance(scheduler, Slurm):
        return ()
    folder, (program, *options) = Path(scheduler.poll(())[0]).parent, LIMITS
    try:
        called = run_command((str(folder / program) if folder.name else program, *options), _ANSWER_S)
    except SchedulerError:
        return ()
    return read_limits(called.stdout)
