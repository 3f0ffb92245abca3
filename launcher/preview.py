"""What a study would start, as text: `--dry-run`. Nothing is started, and nothing is written."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from melissa_like.config import Config, layout_of
from melissa_like.launcher.commands import commands_for
from melissa_like.launcher.executors import JobSpec, WritesScripts
from melissa_like.launcher.following import follow_call_of
from melissa_like.launcher.parts import make_executor
from melissa_like.records import ServerRank
from melissa_like.transport.in_memory import MemoryTransport

__all__ = ["plan_study"]


def plan_study(config: Config, run_dir: Path) -> list[str]:
    """The commands of the first jobs of the study, and whatever the scheduler would get to start them.

    Variables of the environment are in none of it: they may be secret.
    """
    executor = make_executor(config.launcher, lambda: None, run_dir)
    commands = commands_for(config, run_dir, traits=executor.traits, transport=MemoryTransport())
    servers = [commands.server_spec(ServerRank(rank)) for rank in range(config.launcher.num_server_ranks)]
    num_simulations = config.study.num_simulations + config.study.num_validation_simulations
    num_jobs = min(config.launcher.max_jobs, num_simulations)
    jobs = [commands.solver_spec(f"job-{number + 1:04d}") for number in range(num_jobs)]
    lines = [f"{spec.name}: {shlex.join(spec.command) or 'a thread of the launcher'}" for spec in (*servers, *jobs)]
    lines += _begun(config)
    lines += _followed(config)
    if isinstance(executor, WritesScripts):
        for specs in (servers, jobs):
            lines += [f"\n{_names(specs)}: the scheduler gets", *(text.rstrip() for text in executor.script(specs))]
        lines.append("")
    return lines


def _begun(config: Config) -> list[str]:
    """What each simulation says before its first time step; nothing where meshes do not differ."""
    layout = layout_of(config.solver)
    told = [f"its own {', '.join(layout.extents)}"] if layout.extents else []
    told += [f"{', '.join(spec.name for spec in layout.static)} once"] if layout.static else []
    return [f"each simulation sends {' and '.join(told)}, before its first time step"] if told else []


def _followed(config: Config) -> list[str]:
    """What a follower starts for each simulation, and the files that it finds; nothing if there is none."""
    call = follow_call_of(config)
    if call is None:
        return []
    _, inputs = call.read_templates()
    told = [f"each simulation, in a folder of its own: {shlex.join((*call.launch, *call.command))}"]
    for file in inputs:
        names = dict.fromkeys(place.text for place in file.template.placeholders) if file.template else {}
        filled = f" with {', '.join(names)}" if names else ""
        told.append(f"{file.name} in it: {file.source}{filled}")
    return told


def _names(specs: Sequence[JobSpec]) -> str:
    first, last = specs[0].name, specs[-1].name
    return first if first == last else f"{first} to {last}"
