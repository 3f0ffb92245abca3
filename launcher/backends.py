"""Where things run: what starts processes, what carries messages, and the commands of server ranks and solver jobs.

A backend is chosen by import path (`launcher.backend`); it is asked for its parts by the composition root in
`melissa_like.launcher.run` and takes no decision of its own.
"""

import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from melissa_like.client import Client
from melissa_like.client.environment import JOB_VARIABLE, RUN_DIR_VARIABLE
from melissa_like.client.runner import read_solver_call, run_plugin
from melissa_like.config import Config
from melissa_like.errors import ConfigurationError, StudyStoppedError
from melissa_like.launcher.executors import (
    Executor,
    InlineExecutor,
    JobSpec,
    LocalExecutor,
    launch_command,
    search_path,
)
from melissa_like.launcher.rundir import log_path
from melissa_like.protocol import read_connection
from melissa_like.transport import Transport
from melissa_like.transport.memory import MemoryTransport
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["Backend", "InlineBackend", "LocalBackend"]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Backend(Protocol):
    """What the launcher needs of a place to run in."""

    def check(self, config: Config) -> None:
        """Refuse what cannot run here.

        Raises:
            ConfigurationError: what and why.
        """
        ...

    def transport(self, config: Config) -> Transport:
        """How the launcher's messages travel."""
        ...

    def executor(self, config: Config, on_change: Callable[[], None]) -> Executor:
        """What starts jobs."""
        ...

    def solver_spec(self, config: Config, run_dir: Path, job: str) -> JobSpec:
        """A solver job."""
        ...

    def server_spec(self, config: Config, run_dir: Path, rank: int) -> JobSpec:
        """A server rank."""
        ...


class LocalBackend:
    """Processes on this machine, ZeroMQ between them."""

    def __init__(self) -> None:
        self._rendezvous_port: int | None = None

    def check(self, config: Config) -> None:
        """The programs must exist."""
        command = _solver_command(config)
        _require_program(command[0], "solver.launch" if config.solver.launch.strip() else "solver.command")
        if config.solver.command:
            _require_program(config.solver.command[0], "solver.command")

    def transport(self, config: Config) -> Transport:
        """TCP on the configured address."""
        return ZmqTransport(host=config.transport.host)

    def executor(self, config: Config, on_change: Callable[[], None]) -> Executor:
        """Child processes."""
        return LocalExecutor(on_change=on_change, grace_s=config.launcher.grace_s)

    def solver_spec(self, config: Config, run_dir: Path, job: str) -> JobSpec:
        """`mpiexec` with the plug-in's runner, or the solver's own program."""
        return JobSpec(
            name=job,
            command=_solver_command(config),
            environment={
                **_ONE_THREAD,
                **_paths(),
                **config.solver.environment,
                RUN_DIR_VARIABLE: str(run_dir),
                JOB_VARIABLE: job,
            },
            log=log_path(run_dir, job),
            working_directory=Path.cwd(),
            num_ranks=config.solver.num_ranks,
        )

    def server_spec(self, config: Config, run_dir: Path, rank: int) -> JobSpec:
        """One process per server rank, which find one another by the env:// rendezvous on a fresh port."""
        if self._rendezvous_port is None:
            self._rendezvous_port = _free_port(config.transport.host)
        threads = str(config.training.num_threads)
        return JobSpec(
            name=f"server-{rank}",
            command=(sys.executable, "-m", "melissa_like.server", str(run_dir)),
            environment={
                **_paths(),
                "OMP_NUM_THREADS": threads,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(config.launcher.num_server_ranks),
                "MASTER_ADDR": config.transport.host,
                "MASTER_PORT": str(self._rendezvous_port),
            },
            log=log_path(run_dir, f"server-{rank}"),
            working_directory=Path.cwd(),
        )


class InlineBackend:
    """Everything in this process: threads instead of processes, memory instead of sockets; for tests and debugging."""

    def __init__(self) -> None:
        self._transport = MemoryTransport()

    def check(self, config: Config) -> None:
        """One server rank, and a plug-in of one rank."""
        if config.launcher.num_server_ranks != 1 or config.solver.num_ranks != 1 or not config.solver.solve:
            raise ConfigurationError(
                "launcher=inline runs everything in one process: it needs launcher.num_server_ranks=1 (received "
                f"{config.launcher.num_server_ranks}), solver.num_ranks=1 (received {config.solver.num_ranks}) and a "
                "generator plug-in under solver.solve"
            )

    def transport(self, config: Config) -> Transport:
        """The memory that all threads share."""
        return self._transport

    def executor(self, config: Config, on_change: Callable[[], None]) -> Executor:
        """Threads."""
        return InlineExecutor(self._run, on_change=on_change)

    def solver_spec(self, config: Config, run_dir: Path, job: str) -> JobSpec:
        """Named only: `_run` knows what to do with it."""
        return JobSpec(
            name=job,
            command=("solver", str(run_dir)),
            environment={},
            log=log_path(run_dir, job),
            working_directory=Path.cwd(),
        )

    def server_spec(self, config: Config, run_dir: Path, rank: int) -> JobSpec:
        """Named only: `_run` knows what to do with it."""
        return JobSpec(
            name=f"server-{rank}",
            command=("server", str(run_dir)),
            environment={},
            log=log_path(run_dir, f"server-{rank}"),
            working_directory=Path.cwd(),
        )

    def _run(self, spec: JobSpec, canceled: threading.Event) -> int:
        run_dir = Path(spec.command[1])
        if spec.command[0] == "server":
            from melissa_like.server.rank import run_server_rank

            return run_server_rank(run_dir, rank=0, transport=self._transport)
        call = read_solver_call(run_dir)
        client = Client(None, transport=self._transport, connection=read_connection(run_dir), job=spec.name)
        try:
            run_plugin(_cancelable(call.resolve(), canceled), call.options, client, None)
        except StudyStoppedError:
            return 3
        return 0


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


def _solver_command(config: Config) -> tuple[str, ...]:
    """The command of one job: the plug-in's runner or the solver's own program, under its MPI starter."""
    uses_mpi = bool(config.solver.launch.strip())
    if config.solver.command:
        program = tuple(config.solver.command)
    elif uses_mpi:
        program = (sys.executable, "-m", "mpi4py", "-m", "melissa_like.client", "--mpi")
    else:
        program = (sys.executable, "-m", "melissa_like.client")
    return launch_command(config.solver.launch, config.solver.num_ranks, program)


def _paths() -> dict[str, str]:
    """Programs of this environment and modules of the folder where the launcher was started are found by its jobs."""
    modules = os.pathsep.join(part for part in (os.getcwd(), os.environ.get("PYTHONPATH")) if part)
    return {"PATH": search_path(), "PYTHONPATH": modules}


def _require_program(program: str, key: str) -> None:
    if shutil.which(program, path=search_path()) is None:
        raise ConfigurationError(
            f"{key} starts {program!r}, which is neither on PATH nor an executable file: install it, or write the full "
            "path"
        )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
