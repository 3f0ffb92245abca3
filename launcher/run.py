"""The composition root of the launcher: one study from its configuration to its report."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig

from melissa_like.client.following.call import reader_of
from melissa_like.config import (
    Config,
    as_config,
    available_memory,
    capacity_nbytes,
    capacity_per_rank,
    check,
    check_memory,
    default_capacity,
    layout_of,
)
from melissa_like.errors import ConfigurationError, LeaseError, StudyFailedError
from melissa_like.launcher.commands import check_commands, commands_for
from melissa_like.launcher.drawing import Drawing
from melissa_like.launcher.executors import Executor, Traits
from melissa_like.launcher.following import follow_call_of, tidy, write_follow_call
from melissa_like.launcher.lease import Lease, take_lease
from melissa_like.launcher.parts import make_executor, make_samplers, settings_of, try_sampling
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.remnants import end_remnants
from melissa_like.launcher.report import checkpoint_of, make_report, make_snapshot
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
from melissa_like.launcher.snapshots import EVENTS_PER_SNAPSHOT, Snapshots
from melissa_like.launcher.study_keys import make_study_keys, read_study_keys
from melissa_like.launcher.wall import told_by_signal, wall_of
from melissa_like.monitoring import StudySnapshot, view_for
from melissa_like.plugins import look_in
from melissa_like.protocol import Connection, write_connection
from melissa_like.protocol.connection import CONNECTION_FILE
from melissa_like.protocol.control import Followed
from melissa_like.protocol.reports import Findings
from melissa_like.records import Window
from melissa_like.sampling import StudySamplers, write_snapshot
from melissa_like.study import Journal, Replayed, StudySettings, StudyState
from melissa_like.study.events import Resumed, StudyStarted
from melissa_like.transport import Transport
from melissa_like.transport.admission import require_curve
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.own_host import OwnHost, host_of_launcher
from melissa_like.transport.zmq_sockets import tcp_address
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["Launch", "Past", "keep_report", "prepare", "run_launch", "run_study"]

_STATUS_EVERY_S = 1.0
_CLOSE_S = 5.0
#: A scheduler ends what it has in its own time.
_SCHEDULER_ENDS_S = 60.0
_LOOK_AGAIN_S = 0.25
#: For what a server rank that has not trained can still tell of a failed study: counts, or the findings of a check.
_LAST_WORDS_S = 2.0


def prepare(
    composed: DictConfig, num_planned: int | None = None, *, starts_here: bool = True
) -> tuple[Config, StudySamplers]:
    """Check a configuration as far as is possible without starting anything.

    A capacity of the buffer that follows from the memory is written into what was composed, so that every process of
    the study reads the same number.

    Args:
        composed: of the study.
        num_planned: training simulations when it was begun; None: it begins.
        starts_here: else it does not matter whether its executor could start anything from where this process runs.

    Raises:
        ConfigurationError: what was received, what was expected, what to write instead.
        TransportError: the launcher has no address where jobs can reach it, or ZeroMQ cannot encrypt.
    """
    config = as_config(composed)
    look_in(Path.cwd())
    if config.buffer.capacity is None:
        chosen = default_capacity(layout_of(config.solver), available_memory())
        composed.buffer.capacity = config.buffer.capacity = chosen
    check(config)
    executor = make_executor(config.launcher, lambda: None, Path(config.run_dir))
    if starts_here and executor.traits.refusal:
        raise ConfigurationError(executor.traits.refusal)
    check_commands(config.solver, config.launcher.num_server_ranks, executor.traits)
    if not executor.traits.in_process:
        if starts_here:
            _own_host(config, executor.traits)
        if config.transport.encryption != "none":
            require_curve()
    if executor.traits.on_this_host and config.buffer.device == "cpu":
        check_memory(config, available_memory(), num_ranks=config.launcher.num_server_ranks)
    call, followed = solver_call_of(config), follow_call_of(config)
    if call is not None and config.solver.python is None:
        call.resolve()
    if followed is not None:
        followed.read_templates()
    if followed is not None and config.solver.python is None:
        reader_of(followed.reader)
    try_sampling(config)
    return config, make_samplers(config, num_planned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What another launcher goes on with.

    Attributes:
        lease: that it holds.
        replayed: what the journal says; None: no launcher came so far as to start anything.
    """

    lease: Lease
    replayed: Replayed | None


class Launch:
    """One study, opened top to bottom and closed in reverse; `run` blocks until its verdict.

    Args:
        past: of the study; None: it begins.
        checks: its server rank only checks the solver.
        executor: makes what starts jobs, instead of what the configuration names; called with the function that wakes
            the loop.
        snapshot_every: so many events the state is written beside the journal.
    """

    def __init__(
        self,
        *,
        config: Config,
        samplers: StudySamplers,
        composed: DictConfig,
        run_dir: Path,
        past: Past | None = None,
        checks: bool = False,
        executor: Callable[[Callable[[], None]], Executor] | None = None,
        snapshot_every: int = EVENTS_PER_SNAPSHOT,
    ) -> None:
        self._config = config
        self._capacities = lru_cache(partial(_capacities, config))
        self._samplers = samplers
        self._composed = composed
        self._run_dir = run_dir
        self._past = past
        self._replayed = past.replayed if past is not None else None
        self._checks = checks
        self._snapshot_every = snapshot_every
        self._make_executor = executor or (lambda on_change: make_executor(config.launcher, on_change, run_dir))
        self._stack = ExitStack()
        self._executor_has_news = threading.Event()
        self._started_at = time.monotonic()
        self._status_at = 0.0
        self._problems: list[str] = []
        self.state = self._replayed.state if self._replayed is not None else StudyState(self._settings(1))

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
        wall = wall_of(config.launcher)

        def wake() -> None:
            self._executor_has_news.set()
            socket.wake()

        executor = self._make_executor(wake)  # not opened before the socket is
        traits = executor.traits
        encryption = "none" if traits.in_process else config.transport.encryption
        is_known = self._past is not None and (run_dir / CONNECTION_FILE).exists()
        keys = read_study_keys(run_dir, encryption) if is_known else make_study_keys(encryption)
        transport: Transport
        addresses: tuple[str, ...] = ()
        if traits.in_process:
            transport = MemoryTransport()
        else:
            host, port = _own_host(config, traits).address, config.transport.port
            transport = ZmqTransport(host=host, credentials=keys.credentials("launcher"))
            addresses = (tcp_address(host, port), tcp_address(host, port + 1)) if port else ()
        stack.enter_context(closing(transport))
        socket = transport.control_server(*addresses)
        stack.callback(socket.close, 1.0)
        if self._past is None:
            create_run_dir(self._composed, run_dir)
        self._lease = self._past.lease if self._past is not None else stack.enter_context(take_lease(run_dir))
        if self._replayed is None:
            self.state = StudyState(self._settings(self._lease.number))
        write_follow_call(config, run_dir)
        keys.write(run_dir)
        connection = Connection(
            endpoint=socket.endpoint,
            server_endpoint=socket.server_endpoint,
            study=keys.study,
            secret=keys.secret,
            launcher_incarnation=self._lease.number,
            keys=keys.keys("launcher"),
        )
        write_connection(run_dir, connection)
        self._tag = connection.study.hex()
        commands = commands_for(
            config,
            run_dir,
            traits=traits,
            transport=transport,
            checks=self._checks,
            launcher_incarnation=self._lease.number,
        )
        journal = stack.enter_context(Journal(run_dir, durable=not traits.in_process))
        taken = Snapshots(self.state, journal, self._replayed, every=self._snapshot_every)
        self._snapshots = stack.enter_context(taken)
        self._executor = stack.enter_context(executor)
        keep = partial(write_snapshot, run_dir)
        drawing = stack.enter_context(Drawing(self._samplers, socket.wake, keep))
        self._view = stack.enter_context(closing(view_for(sys.stderr)))
        self._shell = Shell(
            state=self.state,
            journal=journal,
            peers=Peers(socket, connection.identity(), lambda process: self._shell.expects(process)),
            executor=self._executor,
            study=self._tag,
            commands=commands,
            drawing=drawing,
            log=lambda name: log_path(run_dir, name),
            look=self._look,
            server_timeout_s=config.launcher.server_timeout_s,
            grace_s=config.launcher.grace_s,
            failure_grace_s=_LAST_WORDS_S,
            save_timeout_s=config.launcher.save_timeout_s,
            keep_lease=self._keep_lease,
            wall=wall,
        )

    def run(self) -> None:
        """Block until the verdict, and until nothing of the study is left.

        Raises:
            DeadlineExceededError: there is a verdict, but something could not be ended; or something that an earlier
                launcher had left cannot be ended.
            LeaseError: another launcher has taken over; nothing more may be written.
        """
        with _signals(self._shell.interrupt, self._shell.stop_in_time):
            self._shell.run(self._first_event())
            self._executor.close(self._config.launcher.grace_s + _CLOSE_S)
        tidy(self._config.solver, self._run_dir)
        self._look()

    def _settings(self, incarnation: int) -> StudySettings:
        wants_losses = self._samplers.observes
        return settings_of(self._config, wants_losses=wants_losses, launcher_incarnation=incarnation)

    def _first_event(self) -> StudyStarted | Resumed:
        """How the study begins, or goes on once nothing runs any more that an earlier launcher had started."""
        if self._replayed is None:
            return StudyStarted(settings=self.state.settings)
        queued = end_remnants(
            self._executor,
            self._tag,
            may_stay=self.state.jobs.names_submitted,
            wait=self._await_executor,
            timeout_s=self._config.launcher.grace_s + self._ends_s,
        )
        return Resumed(settings=self._settings(self._lease.number), queued=queued)

    @property
    def _ends_s(self) -> float:
        """How long the executor may take, beyond the grace, to see an end."""
        return _CLOSE_S if self._executor.traits.on_this_host else _SCHEDULER_ENDS_S

    def _await_executor(self) -> None:
        """Block until the executor has news, or for a moment; what peers say meanwhile waits in the socket."""
        self._executor_has_news.wait(_LOOK_AGAIN_S)
        self._executor_has_news.clear()
        self._keep_lease()

    def _keep_lease(self) -> None:
        try:
            self._lease.keep()
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            self._shell.fail(no_room(self._run_dir, error))

    @property
    def _elapsed_s(self) -> float:
        """Seconds that launchers have worked on the study, this one and those before."""
        before = self._replayed.seconds if self._replayed is not None else 0.0
        return before + time.monotonic() - self._started_at

    @property
    def findings(self) -> Findings | None:
        """What a server rank that only checks a solver has found."""
        return self._shell.observations.findings

    @property
    def followed(self) -> Followed | None:
        """What programs that are followed took of their disks, if one has ended."""
        return self._shell.observations.followed

    def report(self) -> dict[str, Any]:
        """What is known of the study now."""
        report = make_report(self.state, self._shell.observations, self._elapsed_s)
        resumed = self._replayed.num_resumes + 1 if self._replayed is not None else 0
        problems = [*self._problems, *([self._snapshots.problem] if self._snapshots.problem else [])]
        return {**report, "resumed": resumed, "problems": [*report["problems"], *problems]}

    def _look(self) -> None:
        """Show the present state, leave it on the disk for `melissa-like status`, and take a snapshot if one is due."""
        self._snapshots.take_if_due()
        elapsed = self._elapsed_s
        capacity, nbytes = self._capacities(self.state.ledger.samples.window)
        snapshot = make_snapshot(
            self._config.study.name,
            capacity,
            self.state,
            self._shell.observations,
            elapsed_s=elapsed,
            capacity_nbytes=nbytes,
        )
        self._show(snapshot)
        if elapsed - self._status_at >= _STATUS_EVERY_S or self.state.outcome is not None:
            self._status_at = elapsed
            try:
                status = {"pid": os.getpid(), "checkpoint": checkpoint_of(self.state), **asdict(snapshot)}
                write_json(self._run_dir / STATUS_FILE, status)
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
        LeaseError: another launcher has taken over.
    """
    config, samplers = prepare(composed)
    return run_launch(Launch(config=config, samplers=samplers, composed=composed, run_dir=run_dir), run_dir)


def run_launch(opened: Launch, run_dir: Path) -> dict[str, Any]:
    """Open a launch, run it, and return its report; raises what `run_study` does."""
    try:
        with opened as launch:
            try:
                launch.run()
            except LeaseError:
                raise
            except BaseException:
                if launch.state.outcome is not None:  # what cannot be ended must not take the verdict with it
                    keep_report(launch.report(), run_dir)
                raise
            return keep_report(launch.report(), run_dir)
    except OSError as error:
        elsewhere = isinstance(error, PermissionError) and not str(error.filename).startswith(str(run_dir))
        if error.errno not in CANNOT_WRITE or elsewhere:
            raise
        raise StudyFailedError(no_room(run_dir, error)) from error


def keep_report(report: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """Write the report, and return it; if there is no room for it, it says so, and can still be printed."""
    try:
        write_json(run_dir / REPORT_FILE, report)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        problem = f"{run_dir / REPORT_FILE} could not be written ({error.strerror})"
        return {**report, "problems": [*report["problems"], problem]}
    return report


def _own_host(config: Config, traits: Traits) -> OwnHost:
    """Where the launcher of a study is reached by its jobs."""
    told = config.transport
    return host_of_launcher(told.host, told.interface, elsewhere=not traits.on_this_host)


@contextmanager
def _signals(interrupt: Callable[[str], None], stop_in_time: Callable[[str], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the study in order; a second one too, but nothing interrupts the clean-up.

    SIGUSR1, which a scheduler sends ahead of the end of the launcher's job, stops it as `launcher.walltime` does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGUSR1:
            stop_in_time(told_by_signal(name))
        else:
            interrupt(f"interrupted by {name}")

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.signal(number, take) for number in wanted}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _capacities(config: Config, window: Window | None) -> tuple[int, int | None]:
    """Of the buffers of all server ranks, in samples, and in bytes where these differ in size."""
    is_ragged = layout_of(config.solver).is_ragged
    samples = capacity_per_rank(config, window) * config.launcher.num_server_ranks
    return samples, capacity_nbytes(config, window) if is_ragged else None
