"""The launcher's loop: the thin shell around `StudyState`.

One thread. It waits on the control socket; the executor's watcher and the signal handler only wake it. Each message and
each end of a process becomes an event; the event is journaled, then handled, then its commands are carried out.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from melissa_like.config import Config, layout_of, routing_of
from melissa_like.launcher.executors import Executor, JobSpec, JobState, JobUpdate, log_tail
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.vetting import fault_of
from melissa_like.protocol import control as say
from melissa_like.records import Ranges
from melissa_like.study import Entry, Journal, StudyState
from melissa_like.study import commands as do
from melissa_like.study import events as ev

__all__ = ["Observations", "Shell"]

_LONGEST_WAIT_S = 0.25
_LOG_LINES = 15


@dataclass(slots=True, kw_only=True)
class Observations:
    """What was seen besides events, for the view and the report: what server ranks told, and control messages refused.

    Attributes:
        metrics: the last ones, by server rank.
        summaries: of the training, by server rank.
        history: all validations, oldest first.
        refused: control messages that were not for this study, by reason.
    """

    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    summaries: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)


class Shell:
    """Carries out what the study wants.

    Args:
        study: the tag of its jobs.
        solver_spec: what the executor starts as a solver job, by its name.
        server_spec: what it starts as a server rank, by its number.
        log: where the output of a job or server rank goes, by its name.
        look: called about four times a second, for the view and the status file.
    """

    def __init__(
        self,
        *,
        config: Config,
        state: StudyState,
        journal: Journal,
        peers: Peers,
        executor: Executor,
        study: str,
        solver_spec: Callable[[str], JobSpec],
        server_spec: Callable[[int], JobSpec],
        log: Callable[[str], Path],
        look: Callable[[], None],
    ) -> None:
        self._config = config
        self._state = state
        self._journal = journal
        self._peers = peers
        self._executor = executor
        self._study = study
        self._solver_spec = solver_spec
        self._server_spec = server_spec
        self._log = log
        self._look = look
        self._looked_at = 0.0
        self._layout = layout_of(config.solver)
        self._endpoints: dict[int, str] = {}
        self._alive: set[str] = set()
        self._handles: dict[str, str] = {}
        self._heard_at: dict[str, float] = {}
        self._turned_at = 0.0
        self._interruption: str | None = None
        self.observations = Observations(refused=peers.refused)

    # -- from outside -------------------------------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """End the study as soon as the loop is back; safe in a signal handler."""
        self._interruption = reason
        self._peers.wake()

    def run(self) -> None:
        """The whole study, until the verdict and until every process has ended or its grace is over."""
        self._happen(ev.StudyStarted())
        while self._state.outcome is None:
            self._turn()
        grace_s = 0.0 if self._state.outcome == "failed" else self._config.launcher.grace_s
        deadline = time.monotonic() + grace_s
        while self._alive and time.monotonic() < deadline:
            self._turn()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._interruption is not None:
            reason, self._interruption = self._interruption, None
            self._happen(ev.Interrupted(reason=reason))
        received = self._peers.receive(self._patience())
        if received is not None and received[1] is not None:
            self._vet(received[0], received[1])
        for update in self._executor.poll():
            self._notice(update)
        self._peers.repeat()
        now = time.monotonic()
        self._miss_silent_servers(now)
        due = self._state.next_deadline()
        if due is not None and now >= due:
            self._happen(ev.Tick())
        if now - self._looked_at >= _LONGEST_WAIT_S:
            self._looked_at = now
            self._look()

    def _miss_silent_servers(self, now: float) -> None:
        """A server rank that is stopped or hangs as a whole reports nothing, though its process is still there."""
        limit = self._config.launcher.server_timeout_s
        if now - self._turned_at > limit / 2:  # the launcher itself stood still (Ctrl-Z): their words are waiting
            self._heard_at = dict.fromkeys(self._heard_at, now)
        self._turned_at = now
        for name, heard_at in self._heard_at.items():
            if name in self._alive and now - heard_at > limit and self._state.outcome is None:
                text = f"it has reported nothing for launcher.server_timeout_s = {limit:g} s"
                self._happen(ev.ServerEnded(rank=int(name.removeprefix("server-")), message=text))

    def _patience(self) -> float:
        due = self._state.next_deadline()
        wait = _LONGEST_WAIT_S if due is None else due - time.monotonic()
        return min(max(wait, 0.0), _LONGEST_WAIT_S)

    def _happen(self, event: ev.Event) -> None:
        """Handle an event: its line goes into the journal before any of its commands is carried out."""
        now = time.monotonic()
        commands = self._state.handle(event, now)
        # Each tick too: one without commands may still have failed an attempt, and they come rarely.
        drawn = {c.simulation: c.parameters for c in commands if isinstance(c, do.Assign)}
        self._journal.append(Entry(at_s=now, event=event, parameters=drawn))
        for command in commands:
            self._carry_out(command)

    # -- messages and process ends become events ----------------------------------------------------------------------

    def _vet(self, peer: str, message: say.ControlMessage) -> None:
        fault = fault_of(
            peer,
            message,
            num_simulations=len(self._state.simulations),
            num_server_ranks=self._config.launcher.num_server_ranks,
        )
        if fault is None:
            self._hear(peer, message)
        else:
            self._happen(ev.ProtocolBroken(message=fault))

    def _hear(self, peer: str, message: say.ControlMessage) -> None:
        match message:
            case say.Metrics(rank=rank, values=values):
                self.observations.metrics[rank] = values
                self._heard_at[peer] = time.monotonic()
            case say.Progress(rank=rank, deliveries=deliveries):
                for item in deliveries:
                    self._happen(
                        ev.Delivered(
                            rank=rank,
                            simulation=item.simulation,
                            attempt=item.attempt,
                            steps=item.steps,
                            num_parts=item.num_parts,
                        )
                    )
            case say.ServerHello(rank=rank, endpoint=endpoint):
                self._endpoints[rank] = endpoint
                self._happen(ev.ServerReady(rank=rank))
            case say.ServerFinished(rank=rank, end=end, summary=summary, history=history):
                self.observations.summaries[rank] = summary
                self.observations.history = history or self.observations.history
                self._happen(ev.ServerTrained(rank=rank, end=end))
            case say.ServerFailed(rank=rank, message=text):
                self._happen(ev.ServerEnded(rank=rank, message=text))
            case say.Pressure(rank=rank, put_waits=put_waits):
                self._happen(ev.PressureChanged(rank=rank, put_waits=put_waits))
            case say.RejectedPart():
                self._happen(
                    ev.PartRejected(
                        rank=message.rank,
                        simulation=message.simulation,
                        attempt=message.attempt,
                        message=message.message,
                        breaks_contract=message.breaks_contract,
                    )
                )
            case say.Hello(job=job, num_ranks=num_ranks):
                self._happen(ev.JobSaidHello(job=job, num_ranks=num_ranks))
            case say.Request(job=job):
                self._happen(ev.JobRequested(job=job))
            case say.Blocked(job=job, rank=rank):
                self._happen(ev.JobBlocked(job=job, rank=rank))
            case say.Goodbye():
                self._happen(
                    ev.SimulationSent(
                        job=message.job,
                        simulation=message.simulation,
                        attempt=message.attempt,
                        num_steps=message.num_steps,
                        parts_sent=message.parts_sent,
                    )
                )
            case say.Failure():
                self._happen(
                    ev.SimulationFailed(
                        job=message.job,
                        simulation=message.simulation,
                        attempt=message.attempt,
                        message=message.message,
                        breaks_contract=message.breaks_contract,
                    )
                )
            case say.Acknowledge():
                pass
            case _:
                raise AssertionError(f"{type(message).__name__} of {peer} should not have passed the vetting")

    def _notice(self, update: JobUpdate) -> None:
        name = update.name
        if update.state is JobState.ACTIVE:
            if not name.startswith("server-"):
                self._happen(ev.JobStarted(job=name))
            return
        if update.state is JobState.QUEUED:
            return
        self._alive.discard(name)
        self._handles.pop(name, None)
        tail = log_tail(self._log(name), _LOG_LINES)
        quoted = f"last lines of {self._log(name)}:\n{tail}" if tail else f"its log {self._log(name)} is empty"
        if name.startswith("server-"):
            self._happen(ev.ServerEnded(rank=int(name.removeprefix("server-")), message=f"{update.message}\n{quoted}"))
        else:
            failed = update.state is not JobState.COMPLETED
            self._happen(
                ev.JobEnded(
                    job=name, exit_code=update.exit_code, message=update.message, log_tail=quoted if failed else ""
                )
            )
        self._peers.forget(name)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.StartServer():
                self._submit(*(self._server_spec(rank) for rank in range(self._config.launcher.num_server_ranks)))
            case do.SubmitJob(job=job):
                self._submit(self._solver_spec(job))
            case do.CancelJob(job=job):
                if job in self._handles:  # else it was refused
                    self._executor.cancel(self._handles[job])
            case do.WelcomeJob(job=job, rank=rank):
                self._welcome(job, rank)
            case do.RefuseJob(job=job, reason=reason):
                self._peers.tell(f"{job}/0", say.Refused(reason=reason))
            case do.Assign():
                self._peers.tell(
                    f"{command.job}/0",
                    say.Assignment(
                        simulation=command.simulation,
                        attempt=command.attempt,
                        purpose=int(command.purpose),
                        parameters=command.parameters,
                        delivered_steps=Ranges((step, step + 1) for step in command.delivered_steps).ranges,
                    ),
                )
            case do.FinishJob(job=job):
                self._peers.tell(f"{job}/0", say.Finish(reason="no simulation is left"))
            case do.StopJob(job=job, reason=reason):
                self._peers.tell(f"{job}/0", say.Stop(reason=reason))
            case do.ReleaseRank(job=job, rank=rank, reason=reason):
                self._peers.tell(f"{job}/{rank}", say.Stop(reason=reason))
            case do.AnnounceSimulationOver(simulation=simulation, samples_given_up=given_up):
                self._tell_servers(say.SimulationOver(simulation=simulation, samples_given_up=given_up))
            case do.AnnounceReceptionOver(num_samples=num_samples):
                self._tell_servers(say.ReceptionOver(num_samples=num_samples))
            case do.EndStudy(outcome=outcome, reason=reason):
                if outcome != "completed":
                    self._tell_servers(say.Stop(reason=reason))
            case _:
                raise AssertionError(f"no way to carry out {type(command).__name__}")

    def _submit(self, *specs: JobSpec) -> None:
        self._alive.update(spec.name for spec in specs)
        self._handles.update(self._executor.submit(specs, self._study))

    def _tell_servers(self, message: say.ControlMessage) -> None:
        for rank in range(self._config.launcher.num_server_ranks):
            self._peers.tell(f"server-{rank}", message)

    def _welcome(self, job: str, rank: int) -> None:
        transport = self._config.transport
        self._peers.tell(
            f"{job}/{rank}",
            say.Welcome(
                server_endpoints=tuple(self._endpoints[rank] for rank in sorted(self._endpoints)),
                server_incarnation=1,
                launcher_incarnation=1,
                routing=int(routing_of(transport)),
                layout_id=self._layout.layout_id,
                fields=tuple(
                    say.WireField(name=f.name, shape=f.shape, dtype=f.dtype, components=f.components)
                    for f in self._layout.fields
                ),
                parameters=self._layout.parameters,
                num_steps=self._config.solver.num_steps,
                budget_bytes=transport.budget_bytes,
                heartbeat_s=transport.heartbeat_s,
            ),
        )
