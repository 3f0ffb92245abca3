"""The script for `sbatch` that runs a study inside one allocation, and goes on with it when it is run again."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from melissa_like.config import CONFIG_FILE, Config, num_processes
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors import STEP_SETTINGS, SiteSettings, site_settings

__all__ = ["Part", "batch_script", "parts_of"]

#: Slurm sends the signal up to a minute early, and may be half a minute late under load.
_LATE_S = 30
_SHARED = ("partition", "account", "qos", "constraint", "gres", "mem", "time_s")
_SCRIPT = Template("""\
#!/bin/bash
# A study of melissa-like, inside one allocation of Slurm. Submit it by `sbatch FILE`; `squeue --me` shows the job, and
#   $command status $run_dir
# the study. All of it may be edited: what is asked for is explained by `man sbatch`.
#
#SBATCH --job-name=$name
# Run again, it goes on with its study, and adds to its output.
#SBATCH --$requeue
#SBATCH --open-mode=append
# So many seconds before its end the study is saved and stopped.
#SBATCH --signal=B:USR1@$signal_s
$parts
cd $folder || exit 2
# The signal reaches melissa-like by `exec`; it may come before that is ready, which then looks at the clock alone.
trap '' USR1
if [ -e $config ]; then
    exec $command resume $run_dir
fi
exec $command $run
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A component of the allocation; the whole of one that has no others.

    Attributes:
        what: it is for, for people.
        site: settings of the site for it.
        num_tasks: that it must hold at once.
        num_gpus: of all of them.
        is_spread: each task is on a node of its own.
    """

    what: str
    site: SiteSettings
    num_tasks: int
    num_gpus: int = 0
    is_spread: bool = False


def parts_of(config: Config) -> tuple[Part, ...]:
    """What a study needs at once: its server ranks, and `launcher.max_jobs` jobs; a core each if the site says no more.

    Raises:
        ConfigurationError: server ranks and solver jobs want other nodes, but shall be in one component.
    """
    launcher = config.launcher
    executor: Mapping[str, Any] = launcher.executor
    server, solver = (
        site_settings(executor.get(role), f"launcher.executor.{role}", accepts=STEP_SETTINGS, name="a step of Slurm")
        for role in ("server", "solver")
    )
    num_servers, num_jobs, num_ranks = launcher.num_server_ranks, launcher.max_jobs, num_processes(config.solver)
    servers = Part(
        what=f"{num_servers} server rank{'s' * (num_servers > 1)}",
        site=server,
        num_tasks=num_servers,
        num_gpus=num_servers * (server.gpus or 0),
        is_spread=num_servers > 1 and not server.gpus,
    )
    solvers = Part(
        what=f"{num_jobs} job{'s' * (num_jobs > 1)} of {num_ranks} rank{'s' * (num_ranks > 1)}",
        site=solver,
        num_tasks=num_jobs * num_ranks,
        num_gpus=num_jobs * num_ranks * (solver.gpus or 0),
    )
    groups = {int(executor.get("server_group", 0)): servers, int(executor.get("solver_group", 0)): solvers}
    if len(groups) == 1:
        return (_together(servers, solvers),)
    if set(groups) != {0, 1}:
        raise ConfigurationError(
            f"launcher.executor.server_group and solver_group are {' and '.join(map(str, groups))}: an allocation of "
            "two components has 0 and 1"
        )
    return groups[0], groups[1]


def _together(servers: Part, solvers: Part) -> Part:
    """One component that holds both, as large as they need together."""
    for setting in _SHARED:
        wanted = {getattr(part.site, setting) for part in (servers, solvers)} - {"", None}
        if len(wanted) > 1:
            raise ConfigurationError(
                f"server ranks and solver jobs want {setting.removesuffix('_s')} {' and '.join(map(repr, wanted))}, "
                "but shall be in one allocation: write one of them, or set launcher.executor.solver_group=1 for a "
                "heterogeneous allocation"
            )
    cpus = [part.num_tasks * (part.site.cpus_per_task or 1) for part in (servers, solvers)]
    same = (servers.site.cpus_per_task or 1) == (solvers.site.cpus_per_task or 1)
    kept = {name: getattr(servers.site, name) or getattr(solvers.site, name) for name in _SHARED}
    return Part(
        what=f"{servers.what} and {solvers.what}",
        site=SiteSettings(
            **kept,
            cpus_per_task=servers.site.cpus_per_task if same else None,
            exclusive=servers.site.exclusive or solvers.site.exclusive,
        ),
        num_tasks=servers.num_tasks + solvers.num_tasks if same else sum(cpus),
        num_gpus=servers.num_gpus + solvers.num_gpus,
    )


def batch_script(
    config: Config, parts: Sequence[Part], *, command: Sequence[str], run: Sequence[str], run_dir: Path, folder: Path
) -> str:
    """The text of the script.

    Args:
        config: of the study.
        parts: of the allocation.
        command: that starts `melissa-like`.
        run: its arguments, to begin the study.
        run_dir: of the study.
        folder: where it is started.
    """
    launcher = config.launcher
    asked = "\n#\n#SBATCH hetjob\n".join(_directives(part) for part in parts)
    return _SCRIPT.substitute(
        name=_one_word(config.study.name),
        requeue="requeue" if launcher.requeue else "no-requeue",
        signal_s=int(launcher.save_timeout_s + launcher.grace_s) + _LATE_S,
        parts=asked,
        folder=shlex.quote(str(folder)),
        config=shlex.quote(str(run_dir / CONFIG_FILE)),
        run_dir=shlex.quote(str(run_dir)),
        command=shlex.join(command),
        run=shlex.join(run),
    )


def _directives(part: Part) -> str:
    site = part.site
    cpus = site.cpus_per_task or 1
    each = "a core each" if cpus == 1 else f"{cpus} cores each"
    lines = [f"# For {part.what}, {each}.", f"#SBATCH --ntasks={part.num_tasks}"]
    if site.cpus_per_task:
        lines.append(f"#SBATCH --cpus-per-task={cpus}")
    if part.is_spread:
        lines.append(f"#SBATCH --nodes={site.nodes or part.num_tasks}")
    if part.num_gpus:
        lines.append(f"#SBATCH --gpus={part.num_gpus}")
    for option in ("partition", "account", "qos", "constraint", "gres", "mem"):
        if value := getattr(site, option):
            lines.append(f"#SBATCH --{option}={value}")
    if site.exclusive:
        lines.append("#SBATCH --exclusive")
    lines += ["# It outlives a node that fails: what ran there is started again on another.", "#SBATCH --no-kill"]
    if site.time_s is None:
        lines += ["# Without a time it has that of the partition.", "##SBATCH --time=4:00:00"]
    else:
        lines.append(f"#SBATCH --time={_time(site.time_s)}")
    return "\n".join(lines)


def _time(seconds: int) -> str:
    """As Slurm reads it."""
    minutes, left = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def _one_word(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) or "study"
