"""The launcher's loop: the thin shell around `StudyState`.

One thread. It waits on the control socket; the executor, the sampler's thread and the signal handler only wake it. Each
message and each end of a process becomes an event, which is journaled and then handled. What that leads to is carried
out once all that waited has been read, and once the disk has the journal: that takes a while, so it is done once.

Three clocks run here, because they are about this process and not about the study: how long a server rank has been
silent, how long the end of a process is held back until what it had said last must have arrived, and how long this
launcher may run.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from melissa_like.errors import MelissaLikeError
from melissa_like.launcher.commands import Commands
from melissa_like.launcher.drawing import Drawing
from melissa_like.launcher.executors import Executor, JobSpec, JobState, JobUpdate, log_tail
from melissa_like.launcher.peers import Peers
from melissa_like.launcher.rundir import CANNOT_WRITE, no_room
from melissa_like.launcher.silence import Silence
from melissa_like.launcher.steady_clock import SteadyClock
from melissa_like.launcher.wall import Wall
from melissa_like.protocol import control as say
from melissa_like.protocol.reports import Findings, Summary, ValidationFigures
from melissa_like.records import Address, ServerRank, parse_address
from melissa_like.study import Entry, Journal, StudyState
from melissa_like.study import commands as do
from melissa_like.study import events as ev

__all__ = ["Observations", "Shell"]

_LONGEST_WAIT_S = 0.25
#: The tracebacks of two ranks: which of them wrote last is chance, and one says only that another has failed.
_LOG_LINES = 50
#: What a process had said before its end may still be on its way from the kernel to the socket's queue.
_BELIEVED_AFTER_S = 0.02
_MOST_MESSAGES_PER_TURN = 1000


@dataclass(slots=True, kw_only=True)
class Observations:
    """What was seen besides events, for the view and the report: what server ranks told, and control messages refused.

    Attributes:
        metrics: the last ones, by server rank.
        summaries: of the training, by server rank.
        history: all validations, oldest first.
        findings: of a server rank that only checks a solver.
        refused: control messages that were not for this study, by reason.
        followed: what programs that are followed took of their disks; None: none has told.
        pending: why jobs and server ranks wait for their scheduler, by name, as far as it has told.
    """

    metrics: dict[int, say.Metrics] = field(default_factory=dict)
    summaries: dict[int, Summary] = field(default_factory=dict)
    history: tuple[ValidationFigures, ...] = ()
    findings: Findings | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    followed: say.Followed | None = None
    pending: dict[str, str] = field(default_factory=dict)

    def finish(self, rank: int, told: say.ServerFinished) -> None:
        """A server rank has told how its training ended."""
        self.summaries[rank] = told.summary
        self.history = told.history or self.history

    def follow(self, told: say.Followed) -> None:
        """A program has ended: the most of all that have, and how long they were stopped together."""
        before = self.followed
        if before is not None:
            told = replace(
                told,
                peak_bytes=max(before.peak_bytes, told.peak_bytes),
                num_files=max(before.num_files, told.num_files),
                stopped_s=before.stopped_s + told.stopped_s,
            )
        self.followed = told

    def begin_again(self) -> None:
        """New server ranks are started: what the lost ones have trained does not count."""
        self.metrics.clear()
        self.summaries.clear()
        self.history = ()


class Shell:
    """Carries out what the study wants.

    Args:
        study: the tag of its jobs.
        commands: what is started.
        drawing: the sampler's thread.
        log: where the output of a job or server rank goes, by its name.
        look: called about four times a second, for the view and the status file.
        server_timeout_s: a server rank that reports nothing for so long has failed.
        grace_s: for the processes to end by themselves after the verdict.
        failure_grace_s: for server ranks that have not trained, if the study has failed; its jobs are ended at once.
        save_timeout_s: for server ranks that have trained, to save and report, unless the study has completed.
        keep_lease: called before anything is journaled, and in every turn; raises if the study is another launcher's.
        wall: the study is stopped so long before that the server ranks can save; None: never.
    """

    def __init__(
        self,
        *,
        state: StudyState,
        journal: Journal,
        peers: Peers,
        executor: Executor,
        study: str,
        commands: Commands,
        drawing: Drawing,
        log: Callable[[str], Path],
        look: Callable[[], None],
        server_timeout_s: float,
        grace_s: float,
        failure_grace_s: float = 0.0,
        save_timeout_s: float = 0.0,
        keep_lease: Callable[[], None] = lambda: None,
        wall: Wall | None = None,
    ) -> None:
        self._state = state
        self._journal = journal
        self._peers = peers
        self._executor = executor
        self._study = study
        self._specs = commands
        self._drawing = drawing
        self._log = log
        self._look = look
        self._silence = Silence(server_timeout_s)
        self._grace_s = grace_s
        self._failure_grace_s = failure_grace_s
        self._save_timeout_s = save_timeout_s
        self._keep_lease = keep_lease
        self._wall = wall
        self._began_at = time.monotonic()
        self._clock = SteadyClock()
        self._looked_at = 0.0
        self._handles: dict[str, str] = {}  # of what was submitted and has not ended, by name
        self._ended: deque[tuple[float, JobUpdate]] = deque()  # with when it was noticed, not believed yet
        self._interruption: str | None = None
        self._failure: str | None = None
        self._journal_is_full = False
        self._wanted: deque[do.Command] = deque()
        self.observations = Observations(refused=peers.refused)

    # -- from outside -------------------------------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """End the study as soon as the loop is back; safe in a signal handler."""
        self._interruption = reason
        self._peers.wake()

    def stop_in_time(self, reason: str) -> None:
        """The same, unless the study is ending already: what it saves is not cut short. Safe in a signal handler."""
        if self._state.outcome is None:
            self.interrupt(reason)

    def fail(self, reason: str) -> None:
        """End the study as failed as soon as the loop is back; from the loop's own thread."""
        self._failure = reason

    def expects(self, process: ServerRank | str) -> bool:
        """Whether a process was submitted and has not ended: a server rank, or a job by its name."""
        return str(process) in self._handles

    def run(self, first: ev.StudyStarted | ev.Resumed | None = None) -> None:
        """The whole study, until the verdict and until every process has ended or its grace is over.

        Args:
            first: how it begins, or goes on; None: it begins.
        """
        if isinstance(first, ev.Resumed):
            self._handles.update(first.queued)
        self._happen(first or ev.StudyStarted(settings=self._state.settings))
        while self._state.outcome is None:
            self._turn()
        self._let_end()

    def _let_end(self) -> None:
        """After the verdict: processes end by themselves; server ranks that have trained save and report.

        Ends when nothing is left, when the time of what is left is over, or at another interruption.
        """
        verdict_at = time.monotonic()
        jobs_end_s = 0.0 if self._state.outcome == "failed" else self._grace_s
        jobs_canceled = False
        while self._interruption is None:
            elapsed = time.monotonic() - verdict_at
            if elapsed >= jobs_end_s and not jobs_canceled:
                jobs_canceled = True
                self._cancel_jobs()
            jobs_may_end = elapsed < jobs_end_s and len(self._handles) > len(self._awaited_servers())
            if not jobs_may_end and not (self._awaited_servers() and elapsed < self._servers_end_s()):
                return
            self._turn()

    def _awaited_servers(self) -> list[ServerRank]:
        """Server ranks that have not ended and are not silent."""
        return self._silence.awaited(lambda address: str(address) in self._handles)

    def _servers_end_s(self) -> float:
        """How long server ranks may take from the verdict to their end."""
        if self._state.outcome != "completed" and any(rank.batches for rank in self.observations.metrics.values()):
            return max(self._grace_s, self._save_timeout_s)
        return self._failure_grace_s if self._state.outcome == "failed" else self._grace_s

    def _cancel_jobs(self) -> None:
        for name, handle in self._handles.items():
            if not isinstance(parse_address(name), ServerRank):
                self._executor.cancel(handle)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._keep_lease()
        self._watch_walltime()
        if self._interruption is not None:
            reason, self._interruption = self._interruption, None
            self._happen(ev.Interrupted(reason=reason))
        if self._failure is not None:
            reason, self._failure = self._failure, None
            self._happen(ev.LauncherFailed(message=reason))
        self._act()
        all_read = self._read_messages()
        for event in self._drawing.take():
            self._happen(event)
        self._act()
        self._peers.acknowledge()
        now = time.monotonic()
        for update in self._executor.poll():
            self._notice(update, now)
        if all_read:
            self._believe_ends(now)
        self._peers.repeat()
        self._miss_silent_servers(now)
        due = self._state.next_deadline()
        if due is not None and self._clock.now() >= due:
            self._happen(ev.Tick())
        self._act()
        if now - self._looked_at >= _LONGEST_WAIT_S:
            self._looked_at = now
            self._look()

    def _read_messages(self) -> bool:
        """Wait for a message, then read all that wait; False if there are more than one turn should take."""
        patience = self._patience()
        for _ in range(_MOST_MESSAGES_PER_TURN):
            received = self._peers.receive(patience)
            if received is None:
                return True
            address, message = received
            if message is not None:
                self._hear(address, message)
            patience = 0.0
        return False

    def _patience(self) -> float:
        wait = _LONGEST_WAIT_S
        due = self._state.next_deadline()
        if due is not None:
            wait = min(wait, due - self._clock.now())
        if self._ended:
            wait = min(wait, _BELIEVED_AFTER_S)
        return max(wait, 0.0)

    def _believe_ends(self, now: float) -> None:
        """Processes that ended a moment ago: everything that waited in the socket has been read since."""
        while self._ended and now - self._ended[0][0] >= _BELIEVED_AFTER_S:
            _, update = self._ended.popleft()
            self._end(update)

    def _miss_silent_servers(self, now: float) -> None:
        """A server rank that is stopped or hangs as a whole reports nothing, though its process is still there."""
        for address in self._silence.take(now):
            self._happen(ev.ServerSilent(address=address, message=self._silence.text()))

    def _watch_walltime(self) -> None:
        """Stop in time: what the server ranks have trained is saved before whoever set the limit ends everything."""
        wall = self._wall
        if wall is None or self._state.outcome is not None:
            return
        if time.monotonic() - self._began_at >= wall.seconds - self._save_timeout_s - self._grace_s:
            self._wall = None
            self.interrupt(wall.text)

    def _happen(self, event: ev.Event) -> None:
        """Journal an event and handle it; what it leads to is carried out by `_act`."""
        now = self._clock.now()
        if ev.is_journaled(event) and not self._journal_is_full:
            self._keep_lease()
            with self._room_in_journal():
                self._journal.append(Entry(at_s=now, event=event))
        self._wanted.extend(self._state.handle(event, now))

    def _act(self) -> None:
        """Carry out what is wanted, in order, once the disk has what it rests on."""
        while self._wanted:
            if not self._journal_is_full:
                with self._room_in_journal():
                    self._journal.sync()
            for _ in range(len(self._wanted)):  # what these make happen is wanted after them
                self._carry_out(self._wanted.popleft())

    @contextmanager
    def _room_in_journal(self) -> Iterator[None]:
        """Without room for the journal the study fails, and what still happens is in no journal."""
        try:
            yield
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            self._journal_is_full = True
            self.fail(no_room(self._journal.folder, error))

    # -- messages and process ends become events ----------------------------------------------------------------------

    def _hear(self, address: Address, message: say.ControlMessage) -> None:
        """What only the view, the report or the sampler look at is no event; all else is, examined or not."""
        if isinstance(address, ServerRank):
            self._silence.hear(address, time.monotonic())
            match message:
                case say.Metrics():
                    self.observations.metrics[address.rank] = message
                    return
                case say.Losses():
                    self._drawing.observe(message)
                    return
                case say.Checked(findings=findings):
                    self.observations.findings = findings
                    return
                case say.ServerFinished():
                    self.observations.finish(address.rank, message)
        if isinstance(message, say.Followed):
            self.observations.follow(message)
        elif not isinstance(message, say.Acknowledge):
            self._happen(ev.Said(address=address, message=message))

    def _notice(self, update: JobUpdate, now: float) -> None:
        address, pending = parse_address(update.name), self.observations.pending
        has_waited = update.name in pending
        if update.state is JobState.QUEUED:
            pending[update.name] = update.message
            if isinstance(address, ServerRank) and not has_waited:
                self._happen(ev.ServerQueued(address=address))
            return
        pending.pop(update.name, None)
        if update.state.is_final:
            self._ended.append((now, update))
        elif not isinstance(address, ServerRank):
            self._happen(ev.JobStarted(job=update.name))
        elif has_waited:
            self._happen(ev.ServerStarted(address=address))

    def _end(self, update: JobUpdate) -> None:
        name = update.name
        self._handles.pop(name, None)
        tail = log_tail(self._log(name), _LOG_LINES)
        quoted = f"last lines of {self._log(name)}:\n{tail}" if tail else f"its log {self._log(name)} is empty"
        address = parse_address(name)
        if isinstance(address, ServerRank):
            self._silence.forget(address)
            message = f"{update.message}\n{quoted}"
            self._happen(
                ev.ServerEnded(address=address, message=message, retry=update.retry, by_machine=update.by_machine)
            )
            self._peers.forget(address)
        else:
            job = self._state.jobs.get(name)
            failed = update.state is not JobState.COMPLETED or (job is not None and job.ends_early)
            self._happen(
                ev.JobEnded(
                    job=name,
                    exit_code=update.exit_code,
                    message=update.message,
                    log_tail=quoted if failed else "",
                    retry=update.retry,
                    by_machine=update.by_machine,
                    out_of_time=update.out_of_time,
                )
            )
            self._peers.forget(name)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.Tell(address=address, message=message):
                self._peers.tell(address, message)
            case do.SubmitJobs(jobs=jobs):
                self._submit([self._specs.solver_spec(job) for job in jobs])
            case do.CancelJob(job=job):
                if job in self._handles:  # else it was refused
                    self._executor.cancel(self._handles[job])
            case do.StartServers(incarnation=incarnation, tried=tried):
                self.observations.begin_again()
                ranks = (ServerRank(rank, incarnation) for rank in range(self._state.settings.num_server_ranks))
                self._submit([self._specs.server_spec(rank, tried=tried) for rank in ranks])
            case do.EndServers(incarnation=incarnation):
                self._end_servers(incarnation)
            case do.AskParameters():
                self._drawing.ask(command)
            case do.EndStudy():
                pass  # the loop looks at the state's outcome

    def _end_servers(self, incarnation: int) -> None:
        for name, handle in self._handles.items():
            address = parse_address(name)
            if isinstance(address, ServerRank) and address.incarnation == incarnation:
                self._executor.cancel(handle)

    def _submit(self, specs: list[JobSpec]) -> None:
        try:
            handles = dict(self._executor.submit(specs, self._study))
        except (MelissaLikeError, OSError) as error:  # of an executor that does not keep its contract
            refused = (JobUpdate(name=s.name, state=JobState.FAILED, message=str(error)) for s in specs)
            self._ended.extend((time.monotonic(), update) for update in refused)
            return
        self._handles.update(handles)
        self._happen(ev.JobsSubmitted(handles=handles))
