"""What is started: server ranks and solver jobs, as `JobSpec`s; where, is the executor's business.

An executor with `Traits.in_process` gets functions that talk over the memory of this process, every other one command
lines of processes that talk over sockets.
"""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from melissa_like.client import Client
from melissa_like.client.environment import JOB_VARIABLE, RUN_DIR_VARIABLE
from melissa_like.client.runner import read_solver_call, run_plugin
from melissa_like.config import Config, SolverConfig, num_processes
from melissa_like.errors import ConfigurationError, StudyStoppedError
from melissa_like.launcher.executors import JobSpec, Role, Traits, launch_command, search_path
from melissa_like.launcher.following import program_of
from melissa_like.launcher.rundir import log_path
from melissa_like.launcher.shadowing import may_hide, own_modules, require_unshadowed
from melissa_like.protocol import read_connection
from melissa_like.protocol.seen import LAUNCHER_VARIABLE
from melissa_like.records import ServerRank
from melissa_like.transport import Transport

__all__ = ["Commands", "ProcessCommands", "ThreadCommands", "check_commands", "commands_for", "trial_spec"]

#: The folder where the launcher was started is not put first: its processes look there last (`plugins.look_in`).
_PYTHON = (sys.executable, "-P")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Commands(Protocol):
    """What a study starts."""

    def server_spec(self, address: ServerRank, *, tried: bool = False) -> JobSpec:
        """A server rank, named by its address; if the training was tried already, it need not be again."""
        ...

    def solver_spec(self, job: str) -> JobSpec:
        """A solver job, by its name."""
        ...


def commands_for(
    config: Config,
    run_dir: Path,
    *,
    traits: Traits,
    transport: Transport,
    checks: bool = False,
    launcher_incarnation: int = 1,
) -> Commands:
    """What a study starts: functions of this process, which talk over `transport`, or processes, which do not.

    Args:
        config: of the study.
        run_dir: of the study.
        traits: of the executor.
        transport: by which jobs talk that are threads of this process.
        checks: the server rank only checks the solver.
        launcher_incarnation: of the launcher that starts it.
    """
    if traits.in_process:
        return ThreadCommands(run_dir=run_dir, transport=transport, checks=checks)
    return ProcessCommands(
        run_dir=run_dir,
        solver=config.solver,
        num_threads=config.training.num_threads,
        starts_ranks=traits.starts_ranks,
        checks=checks,
        launcher_incarnation=launcher_incarnation,
    )


def trial_spec(folder: Path, num_threads: int) -> JobSpec:
    """A process that tries the training of the configuration in a folder.

    Args:
        folder: of the configuration, and for the result and the log.
        num_threads: torch threads.
    """
    return JobSpec(
        name="trial",
        role=Role.SERVER,
        command=(*_PYTHON, "-m", "melissa_like.server", str(folder), "--trial"),
        environment=_of_server(num_threads),
        log=folder / "trial.log",
        working_directory=Path.cwd(),
        num_ranks=0,
    )


def check_commands(solver: SolverConfig, num_server_ranks: int, traits: Traits) -> None:
    """Refuse what cannot be started.

    Raises:
        ConfigurationError: a program does not exist, or one process cannot hold the study.
    """
    if solver.reader and not traits.in_process:
        _check_followed(solver, traits)
    elif not traits.in_process:
        if not traits.starts_ranks:
            launch = _launched(solver, _solver_program(solver))
            if traits.same_programs and solver.launch.strip():
                _require_program(launch[0], "solver.launch")
        if solver.python is not None and traits.same_programs:
            _require_program(solver.python, "solver.python")
        if solver.command:
            if traits.same_programs:
                _require_program(solver.command[0], "solver.command")
            require_unshadowed(solver.command)
    elif num_server_ranks != 1 or solver.num_ranks != 1 or not solver.solve or solver.python is not None:
        raise ConfigurationError(
            "launcher=inline runs everything in one process: it needs launcher.num_server_ranks=1 (received "
            f"{num_server_ranks}), solver.num_ranks=1 (received {solver.num_ranks}), a generator plug-in under "
            f"solver.solve, and solver.python=null (received {solver.python})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCommands:
    """Processes that find the launcher by the connection file in the run directory.

    Attributes:
        num_threads: torch threads per server rank.
        starts_ranks: the executor starts the ranks of a solver, not `solver.launch`.
        checks: the server rank only checks the solver.
        launcher_incarnation: of the launcher that starts them, whose connection file they wait for.
    """

    run_dir: Path
    solver: SolverConfig
    num_threads: int
    starts_ranks: bool = False
    checks: bool = False
    launcher_incarnation: int = 1

    def server_spec(self, address: ServerRank, *, tried: bool = False) -> JobSpec:
        """One process per server rank."""
        options = (*(("--check",) if self.checks else ()), *(("--tried",) if tried else ()))
        program = (*_PYTHON, "-m", "melissa_like.server", str(self.run_dir), str(address), *options)
        return JobSpec(
            name=str(address),
            role=Role.SERVER,
            gang=f"server.{address.incarnation}",
            command=program,
            program=program,
            environment={**_of_server(self.num_threads), LAUNCHER_VARIABLE: str(self.launcher_incarnation)},
            log=log_path(self.run_dir, str(address)),
            working_directory=Path.cwd(),
            num_ranks=0,
        )

    def solver_spec(self, job: str) -> JobSpec:
        """The plug-in's runner or the solver's own program, under its MPI start command where there is one."""
        solver = self.solver
        program = _solver_program(solver, starts_ranks=self.starts_ranks)
        alone = bool(solver.reader) or self.starts_ranks
        command = program if alone else _launched(solver, program)
        return JobSpec(
            name=job,
            command=command,
            program=program,
            environment={
                **_ONE_THREAD,
                "PATH": search_path(solver.python),
                **(own_modules() if solver.command and not solver.reader else _without_hiding()),
                **solver.environment,
                RUN_DIR_VARIABLE: str(self.run_dir),
                JOB_VARIABLE: job,
                LAUNCHER_VARIABLE: str(self.launcher_incarnation),
            },
            log=log_path(self.run_dir, job),
            working_directory=Path.cwd(),
            num_ranks=solver.num_ranks,
            num_processes=num_processes(solver),
            starts_others=bool(solver.reader),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCommands:
    """Functions of this process: one server rank, and plug-ins of one rank."""

    run_dir: Path
    transport: Transport
    checks: bool = False

    def server_spec(self, address: ServerRank, *, tried: bool = False) -> JobSpec:
        """The server rank; torch is imported when it starts to train."""

        def serve(canceled: threading.Event) -> int:
            if self.checks:
                from melissa_like.server.checking import run_checking_rank

                return run_checking_rank(self.run_dir, address, self.transport)
            from melissa_like.server.rank import run_server_rank

            return run_server_rank(self.run_dir, address, self.transport, tried=tried)

        return self._spec(str(address), serve, num_ranks=0)

    def solver_spec(self, job: str) -> JobSpec:
        """The plug-in's runner."""

        def solve(canceled: threading.Event) -> int:
            call = read_solver_call(self.run_dir)
            client = Client(None, transport=self.transport, connection=read_connection(self.run_dir), job=job)
            try:
                run_plugin(_cancelable(call.resolve(), canceled), call.options, client, None)
            except StudyStoppedError:
                return 3
            return 0

        return self._spec(job, solve, num_ranks=1)

    def _spec(self, name: str, call: Callable[[threading.Event], int], *, num_ranks: int) -> JobSpec:
        return JobSpec(
            name=name,
            call=call,
            log=log_path(self.run_dir, name),
            working_directory=Path.cwd(),
            num_ranks=num_ranks,
        )


def _cancelable(solve: Callable[..., Iterable[Any]], canceled: threading.Event) -> Callable[..., Iterable[Any]]:
    """The plug-in, ended between two of its steps once its job is canceled: a thread cannot be killed."""

    def steps(yielded: Iterable[Any]) -> Iterator[Any]:
        for item in yielded:
            if canceled.is_set():
                raise StudyStoppedError("the job was canceled")
            yield item

    def cancelable(*arguments: Any, **options: Any) -> Iterable[Any]:
        yielded = solve(*arguments, **options)
        return steps(yielded) if isinstance(yielded, Iterable) else yielded  # else the runner says what is wrong

    return cancelable


def _solver_program(solver: SolverConfig, *, starts_ranks: bool = False) -> tuple[str, ...]:
    """What each rank of a job runs: the plug-in's runner, the solver's own program, or what follows a program."""
    python = (solver.python or sys.executable, "-P")
    if solver.reader:
        return (*python, "-m", "melissa_like.client.following")
    if solver.command:
        return tuple(solver.command)
    if solver.launch.strip() or starts_ranks:
        return (*python, "-m", "mpi4py", "-m", "melissa_like.client", "--mpi")
    return (*python, "-m", "melissa_like.client")


def _launched(solver: SolverConfig, program: tuple[str, ...]) -> tuple[str, ...]:
    return launch_command(solver.launch, num_processes(solver), program, python=solver.python)


def _check_followed(solver: SolverConfig, traits: Traits) -> None:
    """What a follower starts must be there as well."""
    program = program_of(solver)
    if not traits.same_programs:
        return
    if solver.launch.strip():
        _require_program(_launched(solver, (program,))[0], "solver.launch")
    _require_program(program, "solver.command")
    if solver.python is not None:
        _require_program(solver.python, "solver.python")


def _of_server(num_threads: int) -> dict[str, str]:
    return {"PATH": search_path(), **_without_hiding(), "OMP_NUM_THREADS": str(num_threads)}


def _without_hiding() -> dict[str, str]:
    """Our own processes look there last; PYTHONPATH would put it first, so that a file there could hide a module."""
    folder = Path.cwd()
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    kept = [part for part in given if Path(part).resolve() != folder]
    return {"PYTHONPATH": os.pathsep.join(kept)} if len(kept) < len(given) and may_hide(folder) else {}


def _require_program(program: str, key: str) -> None:
    if shutil.which(program, path=search_path()) is None:
        raise ConfigurationError(
            f"{key} starts {program!r}, which is neither on PATH nor an executable file: install it, write the full "
            f"path{', or make it executable (chmod +x)' if os.path.isfile(program) else ''}"
        )
