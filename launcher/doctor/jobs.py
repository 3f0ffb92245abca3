"""The probes as jobs of the configured executor: submitted, awaited, ended."""

import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from melissa_like.config import Config
from melissa_like.launcher.commands import ProcessCommands
from melissa_like.launcher.doctor.reports import (
    END_FILE,
    MeetingReport,
    ServerReport,
    SolverReport,
    meeting_file,
    read,
    server_file,
)
from melissa_like.launcher.executors import Executor, JobSpec, JobUpdate, Role
from melissa_like.records import ServerRank, parse_address

__all__ = ["SOLVER_JOB", "Told", "probes", "send"]

SOLVER_JOB = "doctor-solver"
_PROBE = "melissa_like.launcher.doctor.probe"
_LOOK_EVERY_S = 0.2
_END_S = 10.0
_SEEN_S = 3.0


@dataclass(slots=True, kw_only=True)
class Told:
    """What came back.

    Attributes:
        servers: by rank.
        meetings: how torch fared, by server rank.
        solvers: of the client ranks that were started together.
        ends: of jobs that have ended, by name.
        waits: of jobs that have not, the scheduler's last word, by name.
        seconds: until all had reported, or until nobody waited any more.
    """

    servers: dict[int, ServerReport] = field(default_factory=dict)
    meetings: dict[int, MeetingReport] = field(default_factory=dict)
    solvers: list[SolverReport] = field(default_factory=list)
    ends: dict[str, JobUpdate] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def probes(config: Config, folder: Path, *, starts_ranks: bool, num_ranks: int) -> list[JobSpec]:
    """One job per server rank, and one of a few client ranks, started as those of the study would be.

    Args:
        config: of the study.
        folder: of the probes, which all hosts see.
        starts_ranks: see `Traits`.
        num_ranks: client ranks.
    """
    python = (sys.executable, "-P")
    mpi = bool(config.solver.solve) and (bool(config.solver.launch.strip()) or starts_ranks)
    run = ("-m", "mpi4py", "-m") if mpi else ("-m",)
    asked = (_PROBE, str(folder), "solver", *(("--mpi",) if mpi else ()))
    solver = replace(
        config.solver,
        solve={},
        command=[config.solver.python or sys.executable, "-P", *run, *asked],
        num_ranks=num_ranks,
        num_processes=None,
        reader={},
    )
    commands = ProcessCommands(run_dir=folder, solver=solver, num_threads=1, starts_ranks=starts_ranks)
    servers = []
    for rank in range(config.launcher.num_server_ranks):
        program = (*python, "-m", _PROBE, str(folder), "server", str(rank))
        servers.append(replace(commands.server_spec(ServerRank(rank)), command=program, program=program))
    return [*servers, commands.solver_spec(SOLVER_JOB)]


def send(
    make_executor: Callable[[Callable[[], None]], Executor],
    specs: list[JobSpec],
    folder: Path,
    *,
    patience_s: float,
    grace_s: float,
    go_on: Callable[[], None],
) -> Told:
    """Run the probes until each job has reported or ended, for so long at most; nothing of them is left.

    Args:
        make_executor: called with what to call when there is news.
        specs: from `probes`.
        folder: of the probes.
        patience_s: from the submission to the last report.
        grace_s: between SIGTERM and SIGKILL.
        go_on: called every now and then; what it raises ends the probes first.

    Raises:
        DeadlineExceededError: some of it could not be ended.
    """
    changed, told, began = threading.Event(), Told(), time.monotonic()
    with make_executor(changed.set) as executor:
        executor.submit(specs, uuid.uuid4().hex)

        def wait(until: float, what: Callable[[JobSpec], bool]) -> None:
            while time.monotonic() < until and not all(map(what, specs)):
                go_on()
                changed.wait(_LOOK_EVERY_S)
                changed.clear()
                _look(told, executor, folder, specs)

        wait(began + patience_s, lambda spec: spec.name in told.ends or _has_reported(told, spec))
        # What a job that has ended wrote on another host may be seen a little later.
        wait(time.monotonic() + _SEEN_S, lambda spec: spec.name not in told.ends or _has_reported(told, spec))
        told.seconds = time.monotonic() - began
        (folder / END_FILE).touch()
        wait(time.monotonic() + _END_S, lambda spec: spec.name in told.ends or not _has_reported(told, spec))
        executor.close(grace_s + _END_S)
        _look(told, executor, folder, specs)
    return told


def _look(told: Told, executor: Executor, folder: Path, specs: list[JobSpec]) -> None:
    for update in executor.poll():
        if update.state.is_final:
            told.ends[update.name] = update
            told.waits.pop(update.name, None)
        else:
            told.waits[update.name] = update.message or update.state.value
    for rank in range(len(specs) - 1):
        server = read(folder / server_file(rank), ServerReport)
        meeting = read(folder / meeting_file(rank), MeetingReport)
        if server is not None:
            told.servers[rank] = server
        if meeting is not None:
            told.meetings[rank] = meeting
    found = (read(path, SolverReport) for path in sorted(folder.glob("solver-*.json")))
    told.solvers = [report for report in found if report is not None]


def _has_reported(told: Told, spec: JobSpec) -> bool:
    """Whether a job has told everything."""
    if spec.role is Role.SOLVER:
        return len(told.solvers) == spec.num_ranks
    address = parse_address(spec.name)
    assert isinstance(address, ServerRank), f"{spec.name} is a server rank's"
    server = told.servers.get(address.rank)
    return server is not None and (not server.endpoint or address.rank in told.meetings)
