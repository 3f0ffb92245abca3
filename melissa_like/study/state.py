"""The study as a pure state machine: events in, commands out.

No socket, thread, clock or file: `now` is an argument, parameters come as events. The launcher's shell turns messages
and process ends into events, writes them to the journal and carries out the commands, so that replaying the journal
gives the same state.

Two rules explain most of the code. A send is not a delivery: goodbye counts the parts, the server ranks say what
arrived, and only then is a simulation complete. Back-pressure is not a failure: while any server rank's put waits, the
clocks that would fail a silent simulation stand still.

What it knows lives in parts, joined in `Books`: `Ledger` (simulations), `Listing` (which will come), `Jobs`,
`ServerLife`, `Clocks` (how long), `FailurePolicy` (how often). The rules about one event are in `server_rules`,
`job_rules` and `operator_rules`; here is the order of things.
"""

from array import array
from collections.abc import Sequence
from typing import Self

from melissa_like.protocol.control import (
    Blocked,
    Checkpointed,
    ControlMessage,
    Goodbye,
    HeldOutOver,
    ListClosed,
    Progress,
    ReceptionOver,
    Recomputes,
    Request,
    StepRange,
)
from melissa_like.records import Address, ClientRank, Operator, Purpose, ServerRank
from melissa_like.study import events as ev
from melissa_like.study.books import Books, BooksSnapshot
from melissa_like.study.commands import Command, Outcome, SubmitJobs
from melissa_like.study.job_rules import hear_client, job_ended, job_started, serve
from melissa_like.study.jobs import Jobs
from melissa_like.study.ledger import Ledger
from melissa_like.study.operator_rules import answer_late, hear_operator
from melissa_like.study.server_rules import (
    count_deliveries,
    hear_server,
    judge_failure,
    server_ended,
    server_queued,
    server_silent,
    server_started,
)
from melissa_like.study.settings import StudySettings
from melissa_like.study.vetting import fault_of

__all__ = ["StudyState"]

_USUAL: frozenset[type] = frozenset({Goodbye, Progress, Recomputes, Request})


class StudyState:
    """Everything the launcher knows, and every decision it takes."""

    def __init__(self, settings: StudySettings) -> None:
        self._books = Books(settings)

    # -- the two entries ----------------------------------------------------------------------------------------------

    def handle(self, event: ev.Event, now: float) -> tuple[Command, ...]:
        """Take an event and return what is to be done, in order.

        After the verdict (`EndStudy`) nothing more is wanted but to tell a user's command so, until another launcher
        goes on with the study. But what is delivered is still counted, because the server ranks may train on it, and so
        is the checkpoint that they end with. An event that is not journaled changes nothing, and lets no clock run out
        either.
        """
        books = self._books
        if books.outcome is not None and not isinstance(event, ev.Resumed):
            if isinstance(event, ev.Said):
                self._hear_late(event.address, event.message)
            return books.take_commands()
        books.now, books.settled = now, False
        kind: type[object] = type(event)
        if isinstance(event, ev.Said):
            self._hear(event.address, event.message)
            kind = type(event.message)
        else:
            self._take(event)
        if kind is Blocked and not ev.is_journaled(event):
            return books.take_commands()
        due = books.outcome is None and now >= books.clocks.look_at
        if due:
            self._run_out()
            books.clocks.look_again()
        if books.outcome is not None:
            return books.take_commands()
        # Most events are these, and nothing else becomes possible by them until an attempt is settled.
        if due or books.settled or kind not in _USUAL:
            self._proceed()
        elif kind is Request and books.server.ready:
            self._serve()
        return books.take_commands()

    def next_deadline(self) -> float | None:
        """When a `Tick` is due at the latest, on the clock of `now`; None if nothing is being timed.

        May be early, never late: what has progressed since is only looked at when its clock would have run out.
        """
        return None if self._books.outcome is not None else self._books.clocks.next_deadline

    # -- for a resume -------------------------------------------------------------------------------------------------

    def snapshot(self) -> BooksSnapshot:
        """All that is known between two events, but for `ledger.parameters`.

        It looks into the state: encode it before the next event is handled.
        """
        return self._books.snapshot()

    @classmethod
    def from_snapshot(cls, kept: BooksSnapshot, parameters: "array[float]") -> Self:
        """The state of which a snapshot was taken: whatever happens, it decides as that one would have.

        Raises:
            LookupError, ValueError: a snapshot that does not fit together.
        """
        made = cls(kept.settings)
        made._books = Books.from_snapshot(kept, parameters)
        return made

    # -- for the report and the view ----------------------------------------------------------------------------------

    @property
    def settings(self) -> StudySettings:
        """The present ones."""
        return self._books.settings

    @property
    def outcome(self) -> Outcome | None:
        """The verdict, once there is one."""
        return self._books.outcome

    @property
    def reason(self) -> str:
        """Why; empty before the verdict."""
        return self._books.reason

    @property
    def ledger(self) -> Ledger:
        """The simulations; to be read."""
        return self._books.ledger

    @property
    def jobs(self) -> Jobs:
        """The living jobs; to be read."""
        return self._books.jobs

    @property
    def server_ready(self) -> bool:
        """Whether every server rank receives."""
        return self._books.server.ready

    @property
    def server_incarnation(self) -> int:
        """How often the server ranks were started."""
        return self._books.server.incarnation

    @property
    def checkpoint(self) -> Checkpointed | None:
        """The newest one that the server ranks have told of."""
        return self._books.server.checkpoint

    @property
    def launcher_incarnation(self) -> int:
        """How often a launcher was started for the study."""
        return self.settings.welcome.launcher_incarnation

    @property
    def server_losses(self) -> Sequence[str]:
        """Why each of the former incarnations of the server ranks was lost."""
        return self._books.server.losses

    @property
    def reception_over(self) -> bool:
        """Whether every simulation is over, and the server ranks drain their buffers."""
        return self._books.reception_over

    @property
    def num_simulations(self) -> int:
        """Training simulations of the study: as many as are wanted, or as there are once the list is closed."""
        return self._num_of(Purpose.TRAINING, self.settings.num_simulations)

    @property
    def num_validation_simulations(self) -> int:
        """The same of the held-out ones."""
        return self._num_of(Purpose.VALIDATION, self.settings.num_validation_simulations)

    def _num_of(self, purpose: Purpose, wanted: int) -> int:
        return self.ledger.num_listed[purpose] if self._books.listing.is_closed(purpose) else wanted

    @property
    def samples_expected(self) -> int:
        """Training samples of the whole study; of an adaptive solver, those known by now."""
        return self.ledger.samples.expected(self.num_simulations, self.settings.num_steps)

    # -- events -------------------------------------------------------------------------------------------------------

    def _take(self, event: ev.Event) -> None:
        books = self._books
        match event:
            case ev.StudyStarted():
                books.start_servers()
            case ev.Resumed(settings=settings, queued=queued):
                books.resume(settings, queued)
            case ev.JobsSubmitted(handles=handles):
                for name, handle in handles.items():
                    if (job := books.jobs.get(name)) is not None:
                        job.handle = handle
            case ev.JobStarted(job=name):
                job_started(books, books.jobs.get(name))
            case ev.JobEnded():
                job_ended(books, event)
            case ev.ServerQueued(address=address):
                server_queued(books, address)
            case ev.ServerStarted(address=address):
                server_started(books, address)
            case ev.ServerEnded(address=address, message=what, retry=retry, by_machine=by_machine):
                server_ended(books, address, what, retry=retry, by_machine=by_machine)
            case ev.ServerSilent(address=address, message=what):
                server_silent(books, address, what)
            case ev.ParametersDrawn(purpose=purpose, parameters=parameters):
                fault = books.listing.fault_of(purpose, parameters)
                if fault is None:
                    books.listing.answer(purpose, parameters)
                else:
                    books.end("failed", f"the sampler did not answer what it was asked: {fault}")
            case ev.SamplingFailed(message=what):
                books.end("failed", f"the sampler failed: {what}")
            case ev.LauncherFailed(message=what):
                books.end("failed", what)
            case ev.Interrupted(reason=reason):
                books.end("stopped", reason)
            case ev.Tick():
                pass

    def _hear(self, address: Address, message: ControlMessage) -> None:
        books = self._books
        if isinstance(address, Operator):
            hear_operator(books, address, message)
            return
        fault = fault_of(address, message, books.ledger, books.settings.num_server_ranks)
        if fault is not None:
            books.end("failed", f"the client broke the protocol: {fault}")
        elif isinstance(address, ClientRank):
            hear_client(books, address, message)
        elif books.server.is_present(address):
            hear_server(books, address, message)

    def _hear_late(self, address: Address, message: ControlMessage) -> None:
        books = self._books
        if isinstance(address, Operator):
            answer_late(books, address, message)
        if not isinstance(address, ServerRank) or not isinstance(message, Progress | Checkpointed):
            return
        sound = fault_of(address, message, books.ledger, books.settings.num_server_ranks) is None
        if not sound or not books.server.is_present(address):
            return
        if isinstance(message, Progress):
            count_deliveries(books, message)
        else:
            books.server.save(message)

    def _run_out(self) -> None:
        """Fail whatever has been silent for too long."""
        books, clocks = self._books, self._books.clocks
        limit = self.settings.start_timeout_s
        if clocks.server_is_late(books.now):
            lost = books.server.lost_because or books.server.leaving
            books.end(
                "failed",
                f"the server ranks were not ready within launcher.start_timeout_s = {limit:g} s: allow more if rank 0 "
                "still tries the training or a checkpoint is large, or look into the logs of the server ranks"
                if lost is None
                else f"what is left of the server ranks did not end within launcher.start_timeout_s = {limit:g} s, so "
                f"no others could be started, after {lost}",
            )
            return
        if clocks.servers_are_due(books.now):
            books.start_servers()
        if clocks.failure_is_clear(books.now):
            judge_failure(books)
        for job in clocks.late_starts(books.now):
            books.cancel(job)
            books.fail_start(f"{job.name} did not say hello within launcher.start_timeout_s = {limit:g} s")
        if books.outcome is not None:
            return
        for attempt in clocks.silent_attempts(books.now):
            books.break_off(attempt, f"nothing arrived of it for {clocks.patience(attempt):g} s")
        for job in clocks.idle_jobs(books.now):
            # It neither asks for a simulation nor ends, and would keep its place for ever.
            useless, leave = job.simulation is None, clocks.leave(job)
            books.cancel(job)
            if useless:
                books.fail_start(f"{job.name} neither asked for a simulation nor ended for {leave:g} s")

    # -- what the present state allows --------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Answer jobs, ask for parameters, submit jobs, end the reception."""
        books, server = self._books, self._books.server
        if not server.incarnation:
            return
        if server.ready:
            self._announce_lists()
        self._serve()
        free_places = books.settings.max_jobs - len(books.jobs.alive)
        # Not before server rank 0 has tried the training: what it refuses must not cost a job.
        if free_places > 0 and books.ledger.waiting and server.has_tried:
            wanted = min(free_places, len(books.ledger.waiting) - books.jobs.num_uncommitted)
            names = tuple(books.jobs.submit(books.now).name for _ in range(wanted))
            if names:
                books.want(SubmitJobs(jobs=names))
        if server.ready and books.ledger.all_over and books.listing.closed and not books.reception_over:
            self._end_reception()

    def _serve(self) -> None:
        """Answer jobs, and ask for parameters ahead of them."""
        books = self._books
        if books.server.ready:
            while books.hungry and (books.ledger.waiting or books.listing.closed):
                serve(books, books.hungry.pop(next(iter(books.hungry))))
            while books.unserved:
                serve(books, books.unserved.pop(next(iter(books.unserved))))
        question = books.listing.ask()
        if question is not None:
            books.want(question)

    def _announce_lists(self) -> None:
        """Tell the server ranks once what follows from closed lists."""
        books, held_out = self._books, Purpose.VALIDATION
        listed, over = books.ledger.num_listed[held_out], books.ledger.num_over[held_out]
        if 0 < listed == over and books.listing.is_closed(held_out):
            books.tell_servers_once(HeldOutOver())
        if books.ledger.samples.step_range is not None and not books.has_told(StepRange):
            self._announce_steps(books.ledger.samples.step_range)
        if books.listing.is_closed(Purpose.TRAINING) and self.num_simulations < self.settings.num_simulations:
            books.tell_servers_once(ListClosed(num_simulations=self.num_simulations))

    def _announce_steps(self, step_range: tuple[int, int]) -> None:
        first, last = step_range
        self._books.tell_servers_once(StepRange(first=first, last=last))

    def _end_reception(self) -> None:
        books, ledger = self._books, self.ledger
        if ledger.samples.num_delivered == 0:
            story = ledger.story_of(0) if len(ledger) else ""
            story = f"; the first one, simulation 0: {story}" if story else ""
            if num_dropped := ledger.samples.num_dropped[Purpose.TRAINING]:
                story = f": {num_dropped} were left out because they were not finite (solver.not_finite is drop)"
            books.end("failed", f"none of the {len(ledger)} simulations delivered a sample to train on{story}")
            return
        if ledger.samples.range_so_far is not None:
            self._announce_steps(ledger.samples.range_so_far)
        books.reception_over = True
        books.tell_servers(ReceptionOver(num_samples=ledger.samples.num_delivered))
