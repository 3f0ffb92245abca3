"""What is known of a study, and what follows from a fact wherever it came from.

The rules (`server_rules`, `job_rules`) turn events into calls of these methods; the commands that they lead to are
collected here.
"""

from array import array
from collections.abc import Mapping
from typing import Self

import msgspec
from msgspec.structs import replace

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, Purpose, Routing
from melissa_like.study.attempts import Attempt
from melissa_like.study.clocks import Clocks
from melissa_like.study.commands import CancelJob, Command, EndServers, EndStudy, Outcome, StartServers, Tell
from melissa_like.study.failures import FailurePolicy, FailuresSnapshot
from melissa_like.study.jobs import Job, JobPhase, Jobs, JobsSnapshot
from melissa_like.study.ledger import Ledger, LedgerSnapshot
from melissa_like.study.listing import Listing, ListingSnapshot
from melissa_like.study.server import ServerLife, ServerSnapshot
from melissa_like.study.settings import StudySettings

__all__ = ["Books", "BooksSnapshot"]

#: What `Books.tell_servers_once` says, by name.
_SAID_ONCE: dict[str, type[say.ControlMessage]] = {
    kind.__name__: kind for kind in (say.HeldOutOver, say.ListClosed, say.StepRange)
}


class BooksSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a study, between two events, but for the parameters of its simulations.

    Attributes:
        look_at: when a clock may have run out.
        unserved: by name, as `hungry`; those that have ended are left out, because nobody serves them.
        announced: kinds of messages, by name.
    """

    settings: StudySettings
    ledger: LedgerSnapshot
    jobs: JobsSnapshot
    server: ServerSnapshot
    listing: ListingSnapshot
    failures: FailuresSnapshot
    look_at: float
    unserved: tuple[str, ...]
    hungry: tuple[str, ...]
    announced: tuple[str, ...]
    reception_over: bool
    outcome: Outcome | None
    reason: str


class Books:
    """The parts of a study, and the time of the event that is being handled.

    Attributes:
        now: of the present event.
        unserved: jobs that said hello or asked, and were not looked at yet, in that order.
        hungry: jobs that asked for a simulation while none waited, though some may come.
        reception_over: every simulation is over, and the server ranks know.
        settled: the present event has completed or failed an attempt.
    """

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.num_parameters)
        self.jobs = Jobs()
        self.server = ServerLife(settings.num_server_ranks, settings.max_server_restarts)
        self.listing = Listing(self.ledger, _wanted(settings), settings.max_jobs)
        self.clocks = Clocks(settings, self.server, self.jobs, self.ledger)
        self.failures = FailurePolicy(settings, self.ledger)
        self.unserved: dict[str, Job] = {}
        self.hungry: dict[str, Job] = {}
        self.reception_over = False
        self.settled = False
        self.outcome: Outcome | None = None
        self.reason = ""
        self.now = 0.0
        self._commands: list[Command] = []
        self._announced: set[type[say.ControlMessage]] = set()

    def snapshot(self) -> BooksSnapshot:
        """All of it but the parameters. It looks into these books: encode it before anything is changed."""
        assert not self._commands, "an event is being handled"
        alive = self.jobs.alive
        return BooksSnapshot(
            settings=self.settings,
            ledger=self.ledger.snapshot(),
            jobs=self.jobs.snapshot(),
            server=self.server.snapshot(),
            listing=self.listing.snapshot(),
            failures=self.failures.snapshot(),
            look_at=self.clocks.look_at,
            unserved=tuple(name for name in self.unserved if name in alive),
            hungry=tuple(name for name in self.hungry if name in alive),
            announced=tuple(sorted(kind.__name__ for kind in self._announced)),
            reception_over=self.reception_over,
            outcome=self.outcome,
            reason=self.reason,
        )

    @classmethod
    def from_snapshot(cls, kept: BooksSnapshot, parameters: "array[float]") -> Self:
        """The books of which a snapshot was taken, with the parameters of their ledger."""
        made = cls(kept.settings)
        made.ledger = Ledger.from_snapshot(kept.ledger, parameters)
        made.jobs = Jobs.from_snapshot(kept.jobs)
        made.server = ServerLife.from_snapshot(kept.server)
        made.listing = Listing.from_snapshot(kept.listing, made.ledger)
        made.clocks = Clocks(kept.settings, made.server, made.jobs, made.ledger)
        made.clocks.look_at = kept.look_at
        made.failures = FailurePolicy.from_snapshot(kept.failures, kept.settings, made.ledger)
        made.unserved = {name: made.jobs.alive[name] for name in kept.unserved}
        made.hungry = {name: made.jobs.alive[name] for name in kept.hungry}
        made._announced = {_SAID_ONCE[name] for name in kept.announced}
        made.reception_over = kept.reception_over
        made.outcome, made.reason = kept.outcome, kept.reason
        return made

    @property
    def has_too_many_jobs(self) -> bool:
        """Whether more jobs are alive than the study's user wants by now, those that are about to end not counted."""
        most = self.settings.max_jobs
        return len(self.jobs.alive) > most and self.jobs.num_staying > most  # asked at each request: mostly no scan

    def take_commands(self) -> tuple[Command, ...]:
        """What has come together since the last call."""
        if not self._commands:
            return ()
        commands, self._commands = tuple(self._commands), []
        return commands

    def want(self, command: Command) -> None:
        """Have something done."""
        self._commands.append(command)

    def resume(self, settings: StudySettings, queued: Mapping[str, str]) -> None:
        """Go on with other settings, whatever the verdict was; nothing runs any more, and nothing is timed."""
        had_samples = self.failures.anything_delivered
        self.settings = settings
        self.ledger.end_attempts()
        self.jobs.resume(queued, self.now)
        self.server.resume(settings.num_server_ranks, settings.max_server_restarts)
        self.listing.resume(_wanted(settings), settings.max_jobs)
        self.clocks = Clocks(settings, self.server, self.jobs, self.ledger)
        self.failures = FailurePolicy(settings, self.ledger)
        self.failures.anything_delivered = had_samples
        self.unserved.clear()
        self.hungry.clear()
        self._announced.clear()
        self.reception_over = False
        self.outcome, self.reason = None, ""
        self.start_servers()

    def start_servers(self) -> None:
        """The next incarnation of the server ranks; it was told nothing yet."""
        self.server.start(self.now)
        self.clocks.start(self.now, self.settings.start_timeout_s)
        self.want(StartServers(incarnation=self.server.incarnation, tried=self.server.was_tried))

    def lose_servers(self, why: str, *, by_machine: bool = False) -> None:
        """End what is left of the server ranks; two incarnations never train at once."""
        self.server.lose(why, self.now, by_machine=by_machine)
        self.reception_over = False
        self._announced.clear()
        if self.server.has_ended:
            self.replace_servers()
            return
        self.clocks.start(self.now, self.settings.start_timeout_s)
        self.want(EndServers(incarnation=self.server.incarnation))

    def replace_servers(self) -> None:
        """No process of the lost server ranks is left: start the next ones, or do so after a pause."""
        if self.server.pause(self.now):
            self.clocks.look_again()
        else:
            self.start_servers()

    def tell_servers(self, message: say.ControlMessage) -> None:
        """Say something to all server ranks."""
        for address in self.server.ranks:
            self._commands.append(Tell(address=address, message=message))

    def tell_servers_once(self, message: say.ControlMessage) -> None:
        """Say something of which one word is enough for an incarnation of the server ranks."""
        if not self.has_told(type(message)):
            self._announced.add(type(message))
            self.tell_servers(message)

    def has_told(self, kind: type[say.ControlMessage]) -> bool:
        """Whether `tell_servers_once` has said such a message to the present incarnation."""
        return kind in self._announced

    def welcome(self) -> say.Welcome:
        """What a client is told now."""
        return replace(
            self.settings.welcome,
            server_endpoints=self.server.endpoints,
            server_incarnation=self.server.incarnation,
            routing=self.settings.welcome.routing if self.ledger.samples.window is None else int(Routing.TRAJECTORY),
        )

    def settle(self, attempt: Attempt) -> None:
        """Complete a sent simulation once its samples are there; end the study if they cannot come any more."""
        if attempt.parts_sent is None:
            return
        missing = self.ledger.samples.num_missing(attempt.simulation)
        if missing <= 0:
            self.settled = True
            num_dropped = self.ledger.complete(attempt.simulation)
            self.failures.simulation_completed()
            self._announce_over(attempt, num_dropped)
        elif attempt.all_parts_arrived:
            self.settled = True
            # Another attempt would leave out the same.
            first = self.ledger.samples.first_missing(attempt.simulation)
            place = "" if first is None else f", the first at time step {first}"
            numbers = ", or its time steps are not numbered 0, 1, 2, ..., as those of windows must be"
            self.end(
                "failed",
                f"the solver broke its contract in simulation {attempt.simulation}: {missing} of its samples are "
                f"incomplete although every part arrived{place}: a field is missing, or the boxes of the ranks do not "
                f"cover the field{'' if self.ledger.samples.window is None else numbers}",
            )

    def _announce_over(self, attempt: Attempt, given_up: int) -> None:
        self.tell_servers(
            say.SimulationOver(simulation=attempt.simulation, purpose=attempt.purpose, samples_given_up=given_up)
        )

    def fail_attempt(self, attempt: Attempt, what: str, detail: str = "", *, by_machine: bool = False) -> None:
        """Run the simulation again, or give it up, and the study if it was one too many.

        Args:
            attempt: in progress.
            what: has happened, for the simulation's story.
            detail: the last lines of a log or a traceback, for the verdict.
            by_machine: it was lost with its node, say, which is not held against the simulation.
        """
        simulation, self.settled = attempt.simulation, True
        if by_machine and self.failures.may_be_lost_again(simulation):
            self.ledger.count_loss(simulation, what)
            self.ledger.wait_again(simulation)
            return
        self.ledger.count_failure(simulation, what)
        self.failures.attempt_failed(self.now - attempt.started_at)
        if self.failures.may_try_again(simulation):
            self.ledger.wait_again(simulation)
            return
        given_up = self.ledger.give_up(
            simulation, self.settings.num_steps, reason=_in_short(what, detail), last_words=detail
        )
        self._announce_over(attempt, given_up)
        self._fail_for(self.failures.gave_up(simulation, detail, self.now))

    def fail_start(self, what: str, detail: str = "", *, retry: bool | None = None, by_machine: bool = False) -> None:
        """A job ended before it was given a simulation; see `FailurePolicy.start_failed`."""
        self._fail_for(self.failures.start_failed(what, detail, retry=retry, by_machine=by_machine))

    def _fail_for(self, reason: str | None) -> None:
        if reason is not None:
            self.end("failed", reason)

    def rest(self, job: Job, phase: JobPhase) -> None:
        """From now on a job owes a word or its end."""
        job.phase, job.since = phase, self.now
        self.clocks.start(self.now, self.clocks.leave(job))

    def cancel(self, job: Job) -> None:
        """End a job's processes."""
        if job.phase is not JobPhase.ENDING:
            job.phase = JobPhase.ENDING
            self.want(CancelJob(job=job.name))

    def break_off(self, attempt: Attempt, why: str) -> None:
        """Fail an attempt and end the job that is still at it."""
        job = self.jobs.get(attempt.job)
        if job is not None and job.phase is JobPhase.BUSY and job.simulation == attempt.simulation:
            self.cancel(job)
        self.fail_attempt(attempt, why)

    def attempt_at(self, job: Job, simulation: int | None = None, number: int | None = None) -> Attempt | None:
        """The attempt in progress that this job works on, or worked on last."""
        if job.simulation is None or simulation not in (None, job.simulation):
            return None
        attempt = self.ledger.in_progress.get(job.simulation)
        if attempt is None or attempt.job != job.name or number not in (None, attempt.number):
            return None
        return attempt

    def end(self, outcome: Outcome, reason: str) -> None:
        """The verdict; the first one counts."""
        if self.outcome is not None:
            return
        self.outcome, self.reason = outcome, reason
        for job in self.jobs.alive.values():
            if job.phase in (JobPhase.GREETED, JobPhase.BUSY):
                self.want(Tell(address=ClientRank(job.name), message=say.Stop(reason=reason)))
        if outcome != "completed" and self.server.incarnation:
            self.tell_servers(say.Stop(reason=reason, save_within_s=self.settings.save_timeout_s))
        self.want(EndStudy(outcome=outcome, reason=reason))


def _wanted(settings: StudySettings) -> dict[Purpose, int]:
    return {Purpose.TRAINING: settings.num_simulations, Purpose.VALIDATION: settings.num_validation_simulations}


def _in_short(what: str, detail: str) -> str:
    """What has happened, and the last line of what was said about it: of a traceback that is the exception."""
    said = detail.strip().splitlines()
    return f"{what}: {said[-1].strip()}" if said else what
