"""The composition root of the launcher: one study from its configuration to its report."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig

from melissa_like.config import (
    Config,
    as_config,
    available_memory,
    capacity,
    capacity_per_rank,
    check,
    check_memory,
    layout_of,
)
from melissa_like.errors import StudyFailedError
from melissa_like.launcher.commands import check_commands, commands_for
from melissa_like.launcher.drawing import Drawing
from melissa_like.launcher.executors import Executor, InlineExecutor, LocalExecutor
from melissa_like.launcher.parts import make_executor, make_samplers, settings_of, try_sampling
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.report import make_report, make_snapshot
from melissa_like.launcher.rundir import (
    CANNOT_WRITE,
    REPORT_FILE,
    STATUS_FILE,
    create_run_dir,
    log_path,
    no_room,
    solver_call_of,
    write_json,
)
from melissa_like.launcher.shell import Shell
from melissa_like.launcher.study_keys import make_study_keys
from melissa_like.monitoring import StudySnapshot, view_for
from melissa_like.plugins import look_in
from melissa_like.protocol import Connection, write_connection
from melissa_like.protocol.reports import Findings
from melissa_like.records import ServerRank
from melissa_like.sampling import StudySamplers
from melissa_like.study import Journal, StudyState
from melissa_like.transport import Transport
from melissa_like.transport.admission import require_curve
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.zmq_sockets import numeric_host, tcp_address
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["Launch", "plan_study", "prepare", "run_study"]

_STATUS_EVERY_S = 1.0
_CLOSE_S = 5.0
#: For what a server rank that has not trained can still tell of a failed study: counts, or the findings of a check.
_LAST_WORDS_S = 2.0


def prepare(composed: DictConfig) -> tuple[Config, StudySamplers]:
    """Check a configuration as far as is possible without starting anything.

    A capacity of the buffer that follows from the memory is written into what was composed, so that every process of
    the study reads the same number.

    Raises:
        ConfigurationError: what was received, what was expected, what to write instead.
        TransportError: transport.host has no address, or ZeroMQ cannot encrypt.
    """
    config = as_config(composed)
    look_in(Path.cwd())
    if config.buffer.capacity is None:
        composed.buffer.capacity = config.buffer.capacity = capacity(config.buffer, layout_of(config.solver))
    check(config)
    executor = make_executor(config.launcher, lambda: None)
    check_commands(config.solver, config.launcher.num_server_ranks, in_process=executor.in_process)
    if not executor.in_process:
        numeric_host(config.transport.host)
        if config.transport.encryption != "none":
            require_curve()
    serves_here = isinstance(executor, InlineExecutor | LocalExecutor)
    if serves_here and config.buffer.device == "cpu":
        check_memory(config, capacity(config.buffer, layout_of(config.solver)), available_memory())
    call = solver_call_of(config)
    if call is not None:
        call.resolve()
    try_sampling(config)
    return config, make_samplers(config)


def plan_study(config: Config, run_dir: Path) -> list[str]:
    """The command lines that the study would start: `--dry-run`."""
    in_process = make_executor(config.launcher, lambda: None).in_process
    commands = commands_for(config, run_dir, in_process=in_process, transport=MemoryTransport())
    servers = [commands.server_spec(ServerRank(rank)) for rank in range(config.launcher.num_server_ranks)]
    num_simulations = config.study.num_simulations + config.study.num_validation_simulations
    num_jobs = min(config.launcher.max_jobs, num_simulations)
    jobs = [commands.solver_spec(f"job-{number + 1:04d}") for number in range(num_jobs)]
    return [f"{spec.name}: {shlex.join(spec.command) or 'a thread of the launcher'}" for spec in (*servers, *jobs)]


class Launch:
    """One study, opened top to bottom and closed in reverse; `run` blocks until its verdict.

    Args:
        checks: its server rank only checks the solver.
        executor: makes what starts jobs, instead of what the configuration names; called with the function that wakes
            the loop.
    """

    def __init__(
        self,
        *,
        config: Config,
        samplers: StudySamplers,
        composed: DictConfig,
        run_dir: Path,
        checks: bool = False,
        executor: Callable[[Callable[[], None]], Executor] | None = None,
    ) -> None:
        self._config = config
        self._samplers = samplers
        self._composed = composed
        self._run_dir = run_dir
        self._checks = checks
        self._make_executor = executor or (lambda on_change: make_executor(config.launcher, on_change))
        self._stack = ExitStack()
        self._started_at = time.monotonic()
        self._status_at = 0.0
        self._problems: list[str] = []
        self._capacity = capacity_per_rank(config) * config.launcher.num_server_ranks
        self.state = StudyState(settings_of(config, wants_losses=samplers.observes))

    def __enter__(self) -> "Launch":
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        config, run_dir = self._config, self._run_dir
        executor = self._make_executor(lambda: socket.wake())  # not opened before the socket is
        keys = make_study_keys("none" if executor.in_process else config.transport.encryption)
        transport: Transport
        if executor.in_process:
            transport = MemoryTransport()
        else:
            transport = ZmqTransport(host=config.transport.host, credentials=keys.credentials("launcher"))
        stack.enter_context(closing(transport))
        commands = commands_for(
            config, run_dir, in_process=executor.in_process, transport=transport, checks=self._checks
        )
        host, port = config.transport.host, config.transport.port
        addresses = (tcp_address(host, port), tcp_address(host, port + 1)) if port else ()
        socket = transport.control_server(*addresses)
        stack.callback(socket.close, 1.0)
        create_run_dir(self._composed, run_dir)
        keys.write(run_dir)
        connection = Connection(
            endpoint=socket.endpoint,
            server_endpoint=socket.server_endpoint,
            study=keys.study,
            secret=keys.secret,
            launcher_incarnation=1,
            keys=keys.keys("launcher"),
        )
        write_connection(run_dir, connection)
        journal = stack.enter_context(Journal(run_dir))
        self._executor = stack.enter_context(executor)
        drawing = stack.enter_context(Drawing(self._samplers, socket.wake))
        self._view = stack.enter_context(closing(view_for(sys.stderr)))
        self._shell = Shell(
            state=self.state,
            journal=journal,
            peers=Peers(socket, connection.identity(), lambda process: self._shell.expects(process)),
            executor=self._executor,
            study=connection.study.hex(),
            commands=commands,
            drawing=drawing,
            log=lambda name: log_path(run_dir, name),
            look=self._look,
            server_timeout_s=config.launcher.server_timeout_s,
            grace_s=config.launcher.grace_s,
            failure_grace_s=_LAST_WORDS_S,
            save_timeout_s=config.launcher.save_timeout_s,
        )

    def run(self) -> None:
        """Block until the verdict, and until nothing of the study is left.

        Raises:
            DeadlineExceededError: there is a verdict, but something could not be ended.
        """
        with _signals(self._shell.interrupt):
            self._shell.run()
            self._executor.close(self._config.launcher.grace_s + _CLOSE_S)
        self._look()

    @property
    def findings(self) -> Findings | None:
        """What a server rank that only checks a solver has found."""
        return self._shell.observations.findings

    def report(self) -> dict[str, Any]:
        """What is known of the study now."""
        elapsed = time.monotonic() - self._started_at
        report = make_report(self.state, self._shell.observations, elapsed)
        return {**report, "problems": [*report["problems"], *self._problems]}

    def _look(self) -> None:
        """Show the present state, and leave it in the run directory for `melissa-like status`."""
        elapsed = time.monotonic() - self._started_at
        snapshot = make_snapshot(
            self._config.study.name, self._capacity, self.state, self._shell.observations, elapsed_s=elapsed
        )
        self._show(snapshot)
        if elapsed - self._status_at >= _STATUS_EVERY_S or self.state.outcome is not None:
            self._status_at = elapsed
            try:
                write_json(self._run_dir / STATUS_FILE, {"pid": os.getpid(), **asdict(snapshot)})
            except OSError as error:
                if error.errno not in CANNOT_WRITE:
                    raise
                self._shell.fail(no_room(self._run_dir, error))

    def _show(self, snapshot: StudySnapshot) -> None:
        """Show the present state as long as somebody reads it; a study does not end with its terminal."""
        if self._problems:
            return
        try:
            self._view.show(snapshot)
        except OSError as error:
            self._problems.append(f"the state of the study could not be shown any more ({error.strerror})")


def run_study(composed: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Run a study and return its report, which is also written to the run directory.

    Raises:
        ConfigurationError: it cannot be run; nothing was started.
        StudyFailedError: the run directory cannot be written from the beginning; what was started has been ended.
        DeadlineExceededError: something of it could not be ended; the report is written all the same.
    """
    try:
        return _run_study(composed, run_dir)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise StudyFailedError(no_room(run_dir, error)) from error


def _run_study(composed: DictConfig, run_dir: Path) -> dict[str, Any]:
    config, samplers = prepare(composed)
    with Launch(config=config, samplers=samplers, composed=composed, run_dir=run_dir) as launch:
        try:
            launch.run()
        finally:
            report = launch.report()
            if launch.state.outcome is not None:  # what cannot be ended must not take the verdict with it
                report = _written(report, run_dir)
    return report


def _written(report: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The report, after it was written; if there is no room for it, it says so, and can still be printed."""
    try:
        write_json(run_dir / REPORT_FILE, report)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        problem = f"{run_dir / REPORT_FILE} could not be written ({error.strerror})"
        return {**report, "problems": [*report["problems"], problem]}
    return report


@contextmanager
def _signals(interrupt: Callable[[str], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the study in order; a second one too, but nothing interrupts the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda n, _: interrupt(f"interrupted by {signal.Signals(n).name}"))
        for number in wanted
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
