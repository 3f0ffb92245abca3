"""The study as a pure state machine: events in, commands out.

No socket, thread, clock or file: `now` is an argument, parameters come from a function of the simulation's number. The
launcher's shell turns messages and process ends into events, writes them to the journal and carries out the commands,
so that replaying the journal gives the same state.

Two rules explain most of the code. A send is not a delivery: goodbye counts the parts, the server ranks say what
arrived, and only then is a simulation complete. Back-pressure is not a failure: while any server rank's put waits, the
clocks that would fail a silent simulation stand still.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatchmethod

from melissa_like.protocol.control import TrainingEnd
from melissa_like.records import Purpose
from melissa_like.study import events as ev
from melissa_like.study.commands import (
    AnnounceReceptionOver,
    AnnounceSimulationOver,
    Assign,
    CancelJob,
    Command,
    EndStudy,
    FinishJob,
    Outcome,
    RefuseJob,
    ReleaseRank,
    StartServer,
    StopJob,
    SubmitJob,
    WelcomeJob,
)
from melissa_like.study.jobs import Job, JobPhase, Jobs
from melissa_like.study.simulations import Ledger, Simulation, SimulationState

__all__ = ["StudySettings", "StudyState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """The part of the configuration that decisions depend on; names as in `melissa_like.config`."""

    purposes: tuple[Purpose, ...]
    parameters: tuple[str, ...]
    num_steps: int | None
    num_ranks: int
    num_server_ranks: int = 1
    max_jobs: int = 1
    max_attempts: int = 3
    max_failed_starts: int = 3
    max_failed_fraction: float = 0.1
    step_timeout_s: float = 600.0
    delivery_timeout_s: float = 30.0
    start_timeout_s: float = 120.0


class StudyState:
    """Everything the launcher knows, and every decision it takes.

    Args:
        settings: what decisions depend on.
        draw: parameters of a simulation; must depend on its number only.
    """

    def __init__(self, settings: StudySettings, draw: Callable[[int], dict[str, float]]) -> None:
        self.settings = settings
        self._draw = draw
        self.simulations = Ledger(settings.purposes)
        self.jobs = Jobs()
        self.outcome: Outcome | None = None
        self.reason = ""
        self._servers_ready: set[int] = set()
        self._servers_trained: dict[int, TrainingEnd] = {}
        self._server_since: float | None = None
        self._pressed: set[int] = set()
        self._unserved: dict[str, Job] = {}  # jobs that may be waiting for an answer, in the order of their asking
        self._check_at = math.inf  # no clock runs out before; moved forward only by the scan that it spares
        self._reception_over = False
        self._anything_delivered = False
        self._fruitless_attempts = 0
        self._commands: list[Command] = []
        self._now = 0.0

    # -- the two entries ----------------------------------------------------------------------------------------------

    def handle(self, event: ev.Event, now: float) -> tuple[Command, ...]:
        """Take an event and return what is to be done, in order.

        After the verdict (`EndStudy`) every event is taken and nothing more is wanted.
        """
        self._now = now
        if self.outcome is None:
            self._on(event)
        if self.outcome is None:
            self._check_clocks()
        if self.outcome is None:
            self._proceed()
        commands, self._commands = tuple(self._commands), []
        return commands

    def next_deadline(self) -> float | None:
        """When a `Tick` is due at the latest, on the clock of `now`; None if nothing is being timed.

        May be early, never late: what has progressed since is only looked at when its clock would have run out.
        """
        return None if self.outcome is not None or self._check_at == math.inf else self._check_at

    def _earliest(self) -> float:
        """When the first of all clocks runs out; a scan of everything that is being timed."""
        times = [job.since + self.settings.start_timeout_s for job in self._starting()]
        if self._server_since is not None and not self.server_ready:
            times.append(self._server_since + self.settings.start_timeout_s)
        if not self._pressed:
            times += [s.progressed_at + self._patience(s) for s in self.simulations.in_progress.values()]
            times += [job.since + self._leave(job) for job in self.jobs.idle]
        return min(times, default=math.inf)

    @property
    def server_ready(self) -> bool:
        """Whether every server rank receives."""
        return len(self._servers_ready) == self.settings.num_server_ranks

    @property
    def reception_over(self) -> bool:
        """Whether no simulation is left."""
        return self._reception_over

    # -- events -------------------------------------------------------------------------------------------------------

    @singledispatchmethod
    def _on(self, event: ev.Event) -> None:
        raise AssertionError(f"no rule for {type(event).__name__}")

    @_on.register
    def _(self, event: ev.StudyStarted) -> None:
        self._server_since = self._now
        self._start_clock(self.settings.start_timeout_s)
        self._want(StartServer())

    @_on.register
    def _(self, event: ev.ServerReady) -> None:
        self._servers_ready.add(event.rank)
        self._check_at = self._earliest()

    @_on.register
    def _(self, event: ev.ServerEnded) -> None:
        if event.rank not in self._servers_trained:
            self._end("failed", f"server rank {event.rank} ended: {event.message}")

    @_on.register
    def _(self, event: ev.ServerTrained) -> None:
        self._servers_trained[event.rank] = event.end
        if len(self._servers_trained) < self.settings.num_server_ranks:
            return
        ends = set(self._servers_trained.values())
        if self._reception_over and ends == {"drained"}:
            given_up, total = self.simulations.num_given_up, len(self.simulations)
            self._end(
                "completed",
                f"every delivered sample was trained on; {given_up} of {total} simulations were given up"
                if given_up
                else "every sample was delivered and trained on",
            )
        else:
            why = "training.max_batches was reached" if "max_batches" in ends else "the server ranks stopped training"
            what = "every delivered sample was trained on" if self._reception_over else "all simulations had run"
            self._end("stopped", f"{why} before {what}")

    @_on.register
    def _(self, event: ev.JobStarted) -> None:
        job = self.jobs.get(event.job)
        if job is not None and job.phase is JobPhase.SUBMITTED:
            job.phase, job.since = JobPhase.STARTING, self._now
            self._start_clock(self.settings.start_timeout_s)

    @_on.register
    def _(self, event: ev.JobEnded) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.phase is JobPhase.ENDED:
            return
        useless = job.phase in (JobPhase.SUBMITTED, JobPhase.STARTING) or (
            job.phase is JobPhase.GREETED and job.simulation is None
        )
        busy = job.phase is JobPhase.BUSY
        self.jobs.end(job, self._now)
        how = f"{job.name} ended ({event.message})"
        if busy and job.simulation is not None:
            self._fail_attempt(self.simulations[job.simulation], f"{how} before its goodbye", event.log_tail)
        elif useless:
            self._fail_start(f"{how} before it was given a simulation", event.log_tail)

    @_on.register
    def _(self, event: ev.JobSaidHello) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.phase in (JobPhase.ENDING, JobPhase.ENDED):
            self._want(RefuseJob(job=event.job, reason=f"{event.job} is not a living job of this study"))
        elif event.num_ranks != self.settings.num_ranks:
            self._end(
                "failed",
                f"{event.job} runs with an MPI world of {event.num_ranks} ranks but solver.num_ranks is "
                f"{self.settings.num_ranks}: the program was probably built with another MPI than the one that starts "
                "it; set solver.launch to the matching mpiexec",
            )
        elif job.phase in (JobPhase.SUBMITTED, JobPhase.STARTING):  # a second hello must not take its simulation away
            job.phase, job.since = JobPhase.GREETED, self._now
            self._unserved[job.name] = job

    @_on.register
    def _(self, event: ev.JobRequested) -> None:
        job = self.jobs.get(event.job)
        if job is not None and job.phase is JobPhase.BUSY:
            simulation = self._attempt_of(job.simulation, None)
            if simulation is not None and simulation.state is SimulationState.RUNNING:
                self._fail_attempt(simulation, f"{job.name} asked for another simulation before its goodbye")
            job.phase = JobPhase.GREETED
        if job is not None:
            job.requests = True
            self._unserved[job.name] = job

    @_on.register
    def _(self, event: ev.JobBlocked) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.phase in (JobPhase.FAILING, JobPhase.ENDING, JobPhase.ENDED):
            self._want(ReleaseRank(job=event.job, rank=event.rank, reason="the study has given up this job"))
        else:
            self._want(WelcomeJob(job=event.job, rank=event.rank))

    @_on.register
    def _(self, event: ev.SimulationSent) -> None:
        simulation = self._attempt_of(event.simulation, event.attempt)
        if simulation is None or simulation.state is not SimulationState.RUNNING:
            return
        job = self.jobs.get(event.job)
        if job is not None and job.phase is JobPhase.BUSY:
            self._rest(job, JobPhase.GREETED)
            self._unserved[job.name] = job
        simulation.sent(event.num_steps, event.parts_sent, self._now)
        self._start_clock(self.settings.delivery_timeout_s)
        declared = self.settings.num_steps
        if declared is not None and event.num_steps != declared:
            self._end(
                "failed",
                f"simulation {event.simulation} said goodbye after {event.num_steps} time steps but solver.num_steps "
                f"is {declared}: let the solver send every step, or correct solver.num_steps (null for a solver that "
                "does not know in advance)",
            )
            return
        self._settle(simulation)

    @_on.register
    def _(self, event: ev.SimulationFailed) -> None:
        simulation = self._attempt_of(event.simulation, event.attempt)
        if event.breaks_contract:
            self._end("failed", f"the solver broke its contract in simulation {event.simulation}: {event.message}")
        elif simulation is not None and simulation.simulation in self.simulations.in_progress:
            job = self.jobs.get(event.job)
            if job is not None and job.phase is JobPhase.BUSY:
                # Its exit must not fail the attempt a second time.
                self._rest(job, JobPhase.FAILING)
            self._fail_attempt(simulation, f"the solver raised in {event.job}", event.message)

    @_on.register
    def _(self, event: ev.Delivered) -> None:
        simulation = self.simulations[event.simulation]
        if simulation.state is SimulationState.COMPLETE:
            return
        self.simulations.deliver(simulation, event.steps)
        self._anything_delivered = self._anything_delivered or bool(event.steps)
        if event.attempt == simulation.attempt and not simulation.over:
            simulation.receive(event.rank, event.num_parts, self._now)
        if simulation.state is SimulationState.SENT:
            self._settle(simulation)

    @_on.register
    def _(self, event: ev.PartRejected) -> None:
        if event.breaks_contract:
            self._end(
                "failed",
                f"the solver broke its contract in simulation {event.simulation}, attempt {event.attempt}: "
                f"{event.message}",
            )
            return
        simulation = self._attempt_of(event.simulation, event.attempt)
        if simulation is not None and simulation.simulation in self.simulations.in_progress:
            self._break_off(simulation, f"server rank {event.rank} refused a part: {event.message}")

    @_on.register
    def _(self, event: ev.PressureChanged) -> None:
        if event.put_waits:
            self._pressed.add(event.rank)
        else:
            self._pressed.discard(event.rank)
            if not self._pressed:
                for simulation in self.simulations.in_progress.values():
                    simulation.progressed_at = self._now
                for job in self.jobs.idle:
                    job.since = self._now
        self._check_at = self._earliest()

    @_on.register
    def _(self, event: ev.ProtocolBroken) -> None:
        self._end("failed", f"the client broke the protocol: {event.message}")

    @_on.register
    def _(self, event: ev.Interrupted) -> None:
        self._end("stopped", event.reason)

    @_on.register
    def _(self, event: ev.Tick) -> None:
        pass

    # -- consequences -------------------------------------------------------------------------------------------------

    def _want(self, command: Command) -> None:
        self._commands.append(command)

    def _start_clock(self, seconds: float) -> None:
        self._check_at = min(self._check_at, self._now + seconds)

    def _attempt_of(self, simulation: int | None, attempt: int | None) -> Simulation | None:
        """The simulation, if the attempt is its present one (None: any)."""
        if simulation is None or not 0 <= simulation < len(self.simulations):
            return None
        found = self.simulations[simulation]
        return found if attempt is None or attempt == found.attempt else None

    def _settle(self, simulation: Simulation) -> None:
        """Complete a sent simulation once its steps are there; fail the attempt if they cannot come any more."""
        if len(simulation.delivered) == simulation.num_steps:
            self.simulations.complete(simulation)
            self._want(AnnounceSimulationOver(simulation=simulation.simulation))
        elif simulation.all_parts_arrived:
            missing = (simulation.num_steps or 0) - len(simulation.delivered)
            self._fail_attempt(
                simulation,
                f"{missing} of {simulation.num_steps} time steps are incomplete although every part arrived: a field "
                "is missing, or the boxes of the ranks do not cover the field",
            )

    def _fail_attempt(self, simulation: Simulation, what: str, detail: str = "") -> None:
        simulation.story.append(what)
        self._fruitless_attempts += not self._anything_delivered
        if simulation.attempt < self.settings.max_attempts:
            self.simulations.wait_again(simulation)
            return
        self.simulations.give_up(simulation, self.settings.num_steps)
        self._want(AnnounceSimulationOver(simulation=simulation.simulation, samples_given_up=simulation.num_given_up))
        allowed = self.settings.max_failed_fraction * len(self.simulations)
        if self.simulations.num_given_up > allowed:
            self._end(
                "failed",
                f"{self.simulations.num_given_up} of {len(self.simulations)} simulations failed "
                f"{self.settings.max_attempts} times, launcher.max_failed_fraction allows {allowed:g}; the last one, "
                f"simulation {simulation.simulation}: {simulation.told()}" + (f"\n{detail}" if detail else ""),
            )
        self._check_fruit(simulation, detail)

    def _check_fruit(self, simulation: Simulation, detail: str) -> None:
        """End a study whose solver has only ever failed: max_failed_fraction of many simulations takes many jobs."""
        # Only once a simulation has used up its attempts: the first jobs of several may well be killed together. And
        # where a single attempt is allowed, the first simulation alone must not decide about all.
        enough = max(self.settings.max_attempts, self.settings.max_failed_starts)
        if self._anything_delivered or self._fruitless_attempts < enough:
            return
        self._end(
            "failed",
            f"the first {self._fruitless_attempts} attempts failed before a single sample of the study was delivered, "
            f"all {self.settings.max_attempts} of simulation {simulation.simulation} among them: {simulation.told()}"
            + (f"\n{detail}" if detail else ""),
        )

    def _fail_start(self, what: str, detail: str) -> None:
        self.jobs.failed_starts += 1
        if self.jobs.failed_starts >= self.settings.max_failed_starts:
            self._end(
                "failed",
                f"{self.jobs.failed_starts} solver jobs in a row ended before they were given a simulation "
                f"(launcher.max_failed_starts); the last one: {what}" + (f"\n{detail}" if detail else ""),
            )

    def _patience(self, simulation: Simulation) -> float:
        sent = simulation.state is SimulationState.SENT
        return self.settings.delivery_timeout_s if sent else self.settings.step_timeout_s

    def _leave(self, job: Job) -> float:
        """How long an idle job may keep its place."""
        failing = job.phase is JobPhase.FAILING
        return self.settings.delivery_timeout_s if failing else self.settings.step_timeout_s

    def _rest(self, job: Job, phase: JobPhase) -> None:
        """From now on a job owes a word or its end."""
        job.phase, job.since = phase, self._now
        self._start_clock(self._leave(job))

    def _starting(self) -> list[Job]:
        return [job for job in self.jobs.alive.values() if job.phase is JobPhase.STARTING]

    def _check_clocks(self) -> None:
        if self._now < self._check_at:
            return
        self._run_out()
        self._check_at = self._earliest()

    def _run_out(self) -> None:
        """Fail whatever has been silent for too long."""
        limit = self.settings.start_timeout_s
        if self._server_since is not None and not self.server_ready and self._now >= self._server_since + limit:
            self._end("failed", f"the server ranks were not ready within launcher.start_timeout_s = {limit:g} s")
            return
        for job in self._starting():
            if self._now >= job.since + limit:
                job.phase = JobPhase.ENDING
                self._want(CancelJob(job=job.name))
                self._fail_start(f"{job.name} did not say hello within launcher.start_timeout_s = {limit:g} s", "")
        if self._pressed or self.outcome is not None:
            return
        for simulation in tuple(self.simulations.in_progress.values()):
            if self._now >= simulation.progressed_at + self._patience(simulation):
                self._break_off(simulation, f"nothing arrived of it for {self._patience(simulation):g} s")
        for job in self.jobs.idle:
            if self._now >= job.since + self._leave(job):
                self._dismiss(job)

    def _dismiss(self, job: Job) -> None:
        """End a job that neither asks for a simulation nor ends: it would keep its place for ever."""
        silent = f"{job.name} neither asked for a simulation nor ended for {self._leave(job):g} s"
        job.phase = JobPhase.ENDING
        self._want(CancelJob(job=job.name))
        if job.simulation is None:
            self._fail_start(silent, "")

    def _break_off(self, simulation: Simulation, why: str) -> None:
        """Fail an attempt and end the job that is still at it."""
        job = self.jobs.get(simulation.job)
        if job is not None and job.phase is JobPhase.BUSY and job.simulation == simulation.simulation:
            job.phase = JobPhase.ENDING
            self._want(CancelJob(job=job.name))
        self._fail_attempt(simulation, why)

    def _proceed(self) -> None:
        """Answer jobs, submit jobs, end the reception: whatever the present state allows."""
        if self.server_ready:
            for job in self._unserved.values():
                self._serve(job)
            self._unserved.clear()
        # Jobs start while the server ranks do: both spend seconds on imports.
        free_places = self.settings.max_jobs - len(self.jobs.alive)
        if free_places > 0 and self.simulations.waiting:
            for _ in range(min(free_places, len(self.simulations.waiting) - self.jobs.num_uncommitted)):
                self._want(SubmitJob(job=self.jobs.submit(self._now).name))
        if self.simulations.all_over and not self._reception_over:
            self._reception_over = True
            if self.simulations.samples_delivered == 0:
                self._end(
                    "failed",
                    f"none of the {len(self.simulations)} simulations delivered a sample to train on; the first one, "
                    f"simulation 0: {self.simulations[0].told()}",
                )
                return
            self._want(AnnounceReceptionOver(num_samples=self.simulations.samples_delivered))

    def _serve(self, job: Job) -> None:
        if job.phase is not JobPhase.GREETED:
            return
        if not job.welcomed:
            job.welcomed = True
            self._rest(job, JobPhase.GREETED)
            self._want(WelcomeJob(job=job.name))
        if not job.requests:
            return
        job.requests = False
        simulation = self.simulations.start_next(job.name, self.settings.num_server_ranks, self._now)
        if simulation is None:
            self._rest(job, JobPhase.FINISHING)
            self._want(FinishJob(job=job.name))
            return
        job.phase, job.simulation = JobPhase.BUSY, simulation.simulation
        self._start_clock(self.settings.step_timeout_s)
        self.jobs.failed_starts = 0
        drawn = self._draw(simulation.simulation)
        self._want(
            Assign(
                job=job.name,
                simulation=simulation.simulation,
                attempt=simulation.attempt,
                purpose=simulation.purpose,
                parameters=tuple(drawn[name] for name in self.settings.parameters),
                delivered_steps=tuple(sorted(simulation.delivered)),
            )
        )

    def _end(self, outcome: Outcome, reason: str) -> None:
        if self.outcome is not None:
            return
        self.outcome, self.reason = outcome, reason
        for job in self.jobs.alive.values():
            if job.phase in (JobPhase.GREETED, JobPhase.BUSY):
                self._want(StopJob(job=job.name, reason=reason))
        self._want(EndStudy(outcome=outcome, reason=reason))
