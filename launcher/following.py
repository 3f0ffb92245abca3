"""What a follower is told: the configuration of a solver that is a program which nobody edits."""

import os
import shutil
from pathlib import Path

from melissa_like.client.following.call import FOLLOWER_FILE, FollowCall
from melissa_like.client.following.follower import root_of
from melissa_like.client.following.templates import Delimiters, Template
from melissa_like.config import Config, SolverConfig, max_pending_bytes, num_processes
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors import launch_command
from melissa_like.launcher.rundir import write_json
from melissa_like.launcher.shadowing import own_modules

__all__ = ["follow_call_of", "program_of", "tidy", "write_follow_call"]


def follow_call_of(config: Config) -> FollowCall | None:
    """What a follower of this study has to do; None if its solver connects by itself.

    Raises:
        ConfigurationError: the command or the placeholders cannot be understood.
    """
    solver = config.solver
    if not solver.reader:
        return None
    return FollowCall(
        command=(program_of(solver), *solver.command[1:]),
        launch=_launch(solver),
        num_processes=num_processes(solver),
        files={str(name): path for name, path in solver.files.items()},
        placeholder=solver.placeholder,
        reader=dict(solver.reader),
        work_dir=solver.work_dir,
        keep_files=solver.keep_files,
        remove_sent_files=solver.remove_sent_files,
        max_pending_bytes=max_pending_bytes(solver),
        num_steps=solver.num_steps,
        started_in=os.getcwd(),
        parameters=tuple(solver.parameters),
        shapes={name: tuple(spec.shape) for name, spec in solver.fields.items()},
        static={name: tuple(spec.shape) for name, spec in solver.static.items() if spec.value is None},
        seed=config.study.seed,
        grace_s=config.launcher.grace_s,
        environment={name: value for name, value in own_modules().items() if name not in solver.environment},
    )


def write_follow_call(config: Config, run_dir: Path) -> None:
    """Tell the followers of a study what to do, if it has any.

    Raises:
        OSError: it cannot be written.
    """
    call = follow_call_of(config)
    if call is not None:
        write_json(run_dir / FOLLOWER_FILE, call)


def tidy(solver: SolverConfig, run_dir: Path) -> None:
    """At the end of a study: what followers that were killed have left, unless it is to be kept, and empty folders."""
    root = root_of(solver.work_dir, run_dir)
    if solver.reader and root.is_dir():
        if solver.keep_files == "never":
            shutil.rmtree(root)
        elif not any(root.iterdir()):
            root.rmdir()


def program_of(solver: SolverConfig) -> str:
    """The program itself, found from wherever it runs.

    Raises:
        ConfigurationError: it differs between simulations.
    """
    delimiters = Delimiters.of(solver.placeholder)
    template = Template.of(solver.command[0], "solver.command", delimiters)
    if any(place.name != "started_in" for place in template.placeholders):
        raise ConfigurationError(
            f"solver.command starts {solver.command[0]!r}: the program is the same for all simulations; write "
            "placeholders into its arguments, or start a script that chooses"
        )
    program = template.rendered({"started_in": os.getcwd()})
    return str(Path(os.getcwd(), program)) if "/" in program else program


def _launch(solver: SolverConfig) -> tuple[str, ...]:
    """The start command alone; none where it is empty: then the program is one process, and may have many threads."""
    if not solver.launch.strip():
        return ()
    return launch_command(solver.launch, num_processes(solver), solver.command[:1], python=solver.python)[:-1]
