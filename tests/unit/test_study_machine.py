"""The state machine through random orders of events, sound and foreign; what must always hold is looked at after each.

The world around it is played: jobs that start, speak, die; a sampler that answers late or with too little; server ranks
that report in any order, and peers that say whatever the types allow.
"""

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from melissa_like.protocol import control as say
from melissa_like.protocol.reports import Summary
from melissa_like.records import Address, ClientRank, Operator, Purpose, Ranges, ServerRank
from melissa_like.study import SimulationState, StudyState
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from melissa_like.study.jobs import JobPhase
from tests.unit.studied import everything, from_snapshot, inside
from tests.unit.test_study_state import SETTINGS

NUM_STEPS = 2
SMALL = st.integers(-1, 4)
TEXT = st.text(max_size=3)
MESSAGES: st.SearchStrategy[say.ControlMessage] = st.one_of(
    st.builds(say.Hello, num_ranks=SMALL, host=TEXT, pid=SMALL),
    st.builds(say.Request),
    st.builds(say.Goodbye, simulation=SMALL, attempt=SMALL, num_steps=SMALL, parts_sent=st.lists(SMALL).map(tuple)),
    st.builds(say.Failure, simulation=SMALL, attempt=SMALL, message=TEXT, breaks_contract=st.booleans()),
    st.builds(say.Blocked, server_rank=SMALL),
    st.builds(say.Recomputes, simulation=SMALL, attempt=SMALL),
    st.builds(say.Acknowledge),
    st.builds(say.Stop, reason=TEXT),
    st.builds(say.Finish, reason=TEXT),
    st.builds(say.ServerHello, endpoint=TEXT, host=TEXT, pid=SMALL, device=TEXT),
    st.builds(
        say.Progress,
        deliveries=st.lists(
            st.builds(
                say.Delivery,
                simulation=SMALL,
                attempt=SMALL,
                steps=st.lists(SMALL).map(tuple),
                num_parts=SMALL,
                dropped=st.lists(SMALL).map(tuple),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(
        say.RejectedPart,
        simulation=SMALL,
        attempt=SMALL,
        reason=TEXT,
        message=TEXT,
        breaks_contract=st.booleans(),
    ),
    st.builds(say.UnfitSample, simulation=SMALL, attempt=SMALL, message=TEXT),
    st.builds(say.Pressure, put_waits=st.booleans()),
    st.builds(
        say.ServerFinished, end=st.sampled_from(["drained", "max_batches", "stopped"]), summary=st.just(Summary())
    ),
    st.builds(say.ServerFailed, message=TEXT),
    st.builds(
        say.Restored,
        checkpoint=st.none() | SMALL,
        over=st.lists(st.tuples(SMALL, SMALL), max_size=2).map(tuple),
        delivered=st.lists(
            st.builds(say.HeldSteps, simulation=SMALL, steps=st.lists(st.tuples(SMALL, SMALL), max_size=2).map(tuple)),
            max_size=2,
        ).map(tuple),
    ),
    st.builds(say.Checkpointed, number=SMALL, batches=SMALL, nbytes=SMALL),
    st.builds(say.TrainingBlocked, message=TEXT),
    st.builds(say.EndIsNear, message=TEXT),
    st.builds(say.Scale, max_jobs=SMALL),
)
ADDRESSES: st.SearchStrategy[Address] = st.one_of(
    st.builds(ClientRank, st.sampled_from(["job-0001", "job-0002", "job-0077", "x"]), st.integers(0, 2)),
    st.builds(ServerRank, st.integers(0, 3), st.integers(1, 2)),
    st.just(Operator("0a1b2c3d")),
)


def seen(state: StudyState) -> tuple[Any, ...]:
    """Everything about a study that a user could see."""
    ledger = state.ledger
    rows = [
        (ledger.state_of(i), ledger.attempts_of(i), ledger.parameters_of(i), ledger.samples.delivered_of(i).ranges)
        for i in range(len(ledger))
    ]
    jobs = [(job.name, job.phase, job.simulation, job.handle) for job in state.jobs.alive.values()]
    counts = (ledger.samples.num_delivered, ledger.samples.num_given_up, state.samples_expected, ledger.num_restarts)
    return rows, list(ledger.waiting), jobs, counts, state.outcome, state.reason, state.next_deadline()


class World(RuleBasedStateMachine):
    """A study and everything that can happen to it."""

    @initialize(restarts=st.integers(0, 2), adaptive=st.booleans(), calm=st.booleans(), num_run=st.integers(0, 3))
    def begin(self, restarts: int, adaptive: bool, calm: bool, num_run: int) -> None:
        self.calm = calm  # no foreigner, no dead server rank: so that a study comes to its end as well
        welcome = SETTINGS.welcome
        if adaptive:
            welcome = say.Welcome(
                **{name: getattr(welcome, name) for name in welcome.__struct_fields__} | {"num_steps": None}
            )
        self.settings = replace(
            SETTINGS,
            welcome=welcome,
            num_simulations=4,
            num_server_ranks=2,
            max_jobs=2,
            max_server_restarts=restarts,
            max_failed_starts=4,
        )
        self.state = StudyState(self.settings)
        self.now = 0.0
        self.journal: list[tuple[ev.Event, float]] = []
        self.twin: StudyState | None = None  # that goes on from a snapshot, and must do the same
        self.asked: do.AskParameters | None = None
        self.jobs: list[str] = []
        self.given: dict[str, say.Assignment] = {}
        self.servers: set[ServerRank] = set()
        self.happen(ev.StudyStarted(settings=self.settings))
        if calm or num_run:
            self.server_hello(0)
            self.server_hello(1)
            self.answer(0)
        for number in range(num_run):  # so that there is something to lose
            self.run_a_simulation(self.jobs[number % len(self.jobs)])
            if self.asked is not None:
                self.answer(0)

    def happen(self, event: ev.Event, after: float = 0.0) -> None:
        self.now += after
        if ev.is_journaled(event):
            self.journal.append((event, self.now))
        before = None if ev.is_journaled(event) else seen(self.state)
        decided = self.state.outcome
        commands = self.state.handle(event, self.now)
        assert self.twin is None or self.twin.handle(event, self.now) == commands
        for command in commands:
            answers = isinstance(command, do.Tell) and isinstance(command.address, Operator)
            assert decided is None or answers or isinstance(event, ev.Resumed), f"{command} after the verdict"
            match command:
                case do.StartServers(incarnation=incarnation):
                    assert not self.servers, "two incarnations train at once"
                    self.servers = {ServerRank(rank, incarnation) for rank in range(self.settings.num_server_ranks)}
                case do.AskParameters():
                    assert self.asked is None
                    self.asked = command
                case do.SubmitJobs(jobs=jobs):
                    assert len(self.state.jobs.alive) <= self.state.settings.max_jobs
                    self.jobs += jobs
                case do.Tell(address=ClientRank(job=job), message=say.Assignment() as given):
                    self.given[job] = given
        assert before is None or before == seen(self.state)

    @rule()
    def a_snapshot_is_taken(self) -> None:
        self.twin = from_snapshot(self.state)
        assert inside(self.twin) == inside(self.state)

    def server(self, rank: int) -> ServerRank:
        """One of the server ranks there are."""
        return ServerRank(rank % self.settings.num_server_ranks, self.state.server_incarnation)

    def goodbye_of(self, given: say.Assignment) -> say.Goodbye:
        parts = (1, 1) if self.settings.num_server_ranks == 2 else (2,)
        return say.Goodbye(simulation=given.simulation, attempt=given.attempt, num_steps=NUM_STEPS, parts_sent=parts)

    @rule(more=st.integers(0, 1), num_ranks=st.integers(1, 2), moment=st.integers(0, 3), ready=st.booleans())
    def another_launcher_goes_on(self, more: int, num_ranks: int, moment: int, ready: bool) -> None:
        """After the death of this one; seldom, so that there is something to go on with."""
        if moment or self.state.launcher_incarnation > 3:
            return
        again = self.replayed()
        assert everything(again) == everything(self.state)
        self.state = again
        welcome = msgspec.structs.replace(
            self.settings.welcome, launcher_incarnation=self.state.launcher_incarnation + 1
        )
        self.settings = replace(
            self.settings,
            welcome=welcome,
            num_simulations=self.settings.num_simulations + more,
            num_server_ranks=num_ranks,
        )
        self.asked = None
        self.servers.clear()
        self.given.clear()
        queued = {job.name: job.handle for job in self.state.jobs.alive.values() if job.phase is JobPhase.SUBMITTED}
        self.happen(ev.Resumed(settings=self.settings, queued=queued))
        if self.calm or ready:
            ledger, declared = self.state.ledger, self.settings.num_steps is not None
            even = (i for i in range(0, len(ledger), 2) if declared or ledger.samples.steps_of(i) is not None)
            self.servers_say_what_they_have(tuple(even), tuple(range(1, len(ledger), 2)))

    def servers_say_what_they_have(self, over: tuple[int, ...], held: tuple[int, ...]) -> None:
        for rank in range(self.settings.num_server_ranks):
            self.server_hello(rank)
        for rank in range(self.settings.num_server_ranks):
            message = say.Restored(
                checkpoint=3 if over or held else None,
                over=Ranges((i, i + 1) for i in over).ranges,
                delivered=tuple(say.HeldSteps(simulation=i, steps=((rank, rank + 1),)) for i in held),
            )
            self.happen(ev.Said(address=self.server(rank), message=message))

    @rule(max_jobs=st.integers(1, 4), again=st.booleans())
    def the_user_scales_the_study(self, max_jobs: int, again: bool) -> None:
        for _ in range(1 + again):
            self.scale(Operator("0a1b2c3d"), say.Scale(max_jobs=max_jobs))

    def scale(self, address: Operator, message: say.Scale) -> None:
        self.happen(ev.Said(address=address, message=message))
        if self.state.outcome is None and message.max_jobs >= 1:
            self.settings = replace(self.settings, max_jobs=message.max_jobs)

    @precondition(lambda self: self.asked is not None)
    @rule(fewer=st.integers(0, 3))
    def answer(self, fewer: int) -> None:
        asked, self.asked = self.asked, None
        num = asked.num - 1 if fewer == 3 and not self.calm else asked.num
        rows = tuple((float(asked.first + i),) for i in range(num))
        self.happen(ev.ParametersDrawn(purpose=asked.purpose, parameters=rows))

    @rule(rank=st.integers(0, 1))
    def server_hello(self, rank: int) -> None:
        address = self.server(rank)
        self.happen(
            ev.Said(address=address, message=say.ServerHello(endpoint=f"e{rank}", host="h", pid=1, device="cpu"))
        )

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def job_speaks(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        kinds = ["start", "hello", "request", "goodbye", "blocked"] + ([] if self.calm else ["failure", "end"])
        kind = data.draw(st.sampled_from(kinds))
        given = self.given.get(job)
        message: say.ControlMessage | None = None
        match kind:
            case "start":
                self.happen(ev.JobStarted(job=job))
            case "end":
                taken = data.draw(st.booleans())
                self.happen(ev.JobEnded(job=job, exit_code=1, message="exit code 1", by_machine=taken))
            case "hello":
                message = say.Hello(num_ranks=self.settings.num_ranks, host="h", pid=1)
            case "request":
                message = say.Request()
            case "blocked":
                message = say.Blocked(server_rank=0)
            case "goodbye" if given is not None:
                message = self.goodbye_of(given)
            case "failure" if given is not None:
                message = say.Failure(simulation=given.simulation, attempt=given.attempt, message="it diverged")
        if message is not None:
            self.happen(ev.Said(address=ClientRank(job), message=message))

    @precondition(lambda self: self.given)
    @rule(data=st.data(), rank=st.integers(0, 1), steps=st.sets(st.integers(0, NUM_STEPS - 1)), drops=st.booleans())
    def report(self, data: st.DataObject, rank: int, steps: set[int], drops: bool) -> None:
        given = self.given[data.draw(st.sampled_from(sorted(self.given)))]
        delivery = say.Delivery(
            simulation=given.simulation,
            attempt=given.attempt,
            steps=() if drops else tuple(steps),
            num_parts=len(steps),
            dropped=tuple(steps) if drops else (),
        )
        address = self.server(rank)
        self.happen(ev.Said(address=address, message=say.Progress(deliveries=(delivery,))))

    @precondition(lambda self: self.given and not self.calm)
    @rule(data=st.data(), rank=st.integers(0, 1))
    def a_sample_is_not_finite(self, data: st.DataObject, rank: int) -> None:
        given = self.given[data.draw(st.sampled_from(sorted(self.given)))]
        message = say.UnfitSample(simulation=given.simulation, attempt=given.attempt, message="it is nan")
        self.happen(ev.Said(address=self.server(rank), message=message))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def a_job_runs_a_simulation(self, data: st.DataObject) -> None:
        """What a sound job does, from wherever it stands; everything else may come in between."""
        alive = [job for job in self.jobs if job in self.state.jobs.alive]
        self.run_a_simulation(data.draw(st.sampled_from(alive or self.jobs)))

    def run_a_simulation(self, job: str) -> None:
        address = ClientRank(job)
        self.happen(ev.JobStarted(job=job))
        self.happen(ev.Said(address=address, message=say.Hello(num_ranks=self.settings.num_ranks, host="h", pid=1)))
        self.happen(ev.Said(address=address, message=say.Request()))
        given = self.given.get(job)
        if given is not None and self.state.outcome is None:
            for rank in (0, 1):
                delivery = say.Delivery(simulation=given.simulation, attempt=given.attempt, steps=(rank,), num_parts=1)
                self.happen(ev.Said(address=self.server(rank), message=say.Progress(deliveries=(delivery,))))
            self.happen(ev.Said(address=address, message=self.goodbye_of(given)))

    @rule(rank=st.integers(0, 1), put_waits=st.booleans())
    def pressure(self, rank: int, put_waits: bool) -> None:
        address = self.server(rank)
        self.happen(ev.Said(address=address, message=say.Pressure(put_waits=put_waits)))

    @rule(after=st.sampled_from([0.1, 5.0, 11.0, 60.0, 101.0]))
    def time_passes(self, after: float) -> None:
        self.happen(ev.Tick(), 0.1 if self.calm else after)

    @precondition(lambda self: self.state.reception_over)
    @rule(rank=st.integers(0, 1))
    def trained(self, rank: int) -> None:
        address = self.server(rank)
        self.happen(ev.Said(address=address, message=say.ServerFinished(end="drained", summary=Summary())))

    @precondition(lambda self: not self.calm)
    @rule(rank=st.integers(0, 1), back=st.integers(0, 1))
    def server_dies(self, rank: int, back: int) -> None:
        address = ServerRank(rank, max(1, self.state.server_incarnation - back))
        self.servers.discard(address)
        self.happen(ev.ServerEnded(address=address, message="killed by SIGKILL"))
        if self.state.outcome is None:
            self.given.clear()

    @precondition(lambda self: not self.calm)
    @rule(rank=st.integers(0, 1), back=st.integers(0, 1))
    def server_is_silent(self, rank: int, back: int) -> None:
        address = ServerRank(rank, max(1, self.state.server_incarnation - back))
        self.happen(ev.ServerSilent(address=address, message="it has reported nothing"))
        if self.state.outcome is None:
            self.given.clear()

    @precondition(lambda self: self.state.server_incarnation > 1)
    @rule(data=st.data())
    def servers_restore(self, data: st.DataObject) -> None:
        """A checkpoint may hold more or less than was reported."""
        numbers = st.sets(st.integers(0, max(0, len(self.state.ledger) - 1))).map(sorted).map(tuple)
        over, held = (data.draw(numbers) if len(self.state.ledger) else () for _ in range(2))
        self.servers_say_what_they_have(over, held)

    @rule(number=st.integers(0, 3))
    def a_checkpoint_is_complete(self, number: int) -> None:
        address = self.server(0)
        self.happen(ev.Said(address=address, message=say.Checkpointed(number=number, batches=1, nbytes=1)))

    @precondition(lambda self: not self.calm)
    @rule(address=ADDRESSES, message=MESSAGES)
    def anybody_says_anything(self, address: Address, message: say.ControlMessage) -> None:
        if isinstance(address, Operator) and isinstance(message, say.Scale):
            self.scale(address, message)
        else:
            self.happen(ev.Said(address=address, message=message))

    @precondition(lambda self: not self.calm)
    @rule(purpose=st.sampled_from(Purpose), rows=st.lists(st.just((0.5,)), max_size=6).map(tuple))
    def a_sampler_that_was_not_asked(self, purpose: Purpose, rows: tuple[tuple[float, ...], ...]) -> None:
        if self.asked is None:
            self.happen(ev.ParametersDrawn(purpose=purpose, parameters=rows))

    @invariant()
    def the_books_add_up(self) -> None:
        ledger = self.state.ledger
        states = [ledger.state_of(i) for i in range(len(ledger))]
        over = (SimulationState.COMPLETE, SimulationState.GIVEN_UP)
        assert len(set(ledger.waiting)) == len(ledger.waiting)
        assert {i for i, s in enumerate(states) if s is SimulationState.WAITING} == set(ledger.waiting)
        assert {i for i, s in enumerate(states) if s not in (*over, SimulationState.WAITING)} == set(ledger.in_progress)
        assert states.count(SimulationState.COMPLETE) == ledger.num_complete
        assert states.count(SimulationState.GIVEN_UP) == ledger.num_given_up
        assert sum(ledger.num_over.values()) == ledger.num_complete + ledger.num_given_up
        assert ledger.samples.num_delivered >= 0
        assert ledger.samples.num_given_up >= 0
        assert all(ledger.failures_of(i) <= self.settings.max_attempts for i in range(len(ledger)))

    @invariant()
    def samples_are_counted_as_they_are_kept(self) -> None:
        ledger, delivered, dropped = self.state.ledger, 0, 0
        for i in range(len(ledger)):
            if ledger.purpose_of(i) is Purpose.TRAINING:
                complete = ledger.state_of(i) is SimulationState.COMPLETE
                dropped += ledger.samples.num_dropped_of(i)
                delivered += len(ledger.samples.delivered_of(i))
                delivered += ledger.samples.steps_of(i) - ledger.samples.num_dropped_of(i) if complete else 0
        assert ledger.samples.num_delivered == delivered
        assert ledger.samples.num_dropped[Purpose.TRAINING] == dropped
        assert ledger.samples.num_given_up >= dropped
        assert 0 <= ledger.samples_announced_given_up <= ledger.samples.num_given_up

    @invariant()
    def something_is_still_to_come(self) -> None:
        """No study waits for ever: somebody owes it a word or an end, or a clock runs.

        Of what jobs that have ended have sent, server ranks owe the deliveries, in time; or, while a put waits, word
        that it has ended.
        """
        state = self.state
        if state.outcome is None and self.asked is None:
            timed = state.next_deadline() is not None
            pressed = any(isinstance(e, ev.Said) and isinstance(e.message, say.Pressure) for e, _ in self.journal)
            sent = bool(state.ledger.in_progress) and (timed or pressed)
            assert state.jobs.alive or state.reception_over or sent or (not state.server_ready and timed)

    @invariant()
    def nothing_is_lost(self) -> None:
        if self.state.outcome == "completed" and self.settings.num_steps is not None:
            ledger = self.state.ledger
            assert self.state.samples_expected == ledger.samples.num_delivered + ledger.samples.num_given_up

    @invariant()
    def no_more_jobs_than_allowed(self) -> None:
        """But for those that have a simulation, or will not get another one."""
        may_stay = (JobPhase.BUSY, JobPhase.GREETED, JobPhase.FINISHING, JobPhase.FAILING, JobPhase.ENDING)
        jobs = self.state.jobs.alive.values()
        assert self.state.settings == self.settings or self.state.outcome is not None
        if self.state.jobs.num_staying > self.state.settings.max_jobs:
            assert all(job.phase in may_stay for job in jobs)

    @invariant()
    def a_verdict_has_a_reason(self) -> None:
        assert (self.state.outcome is None) == (self.state.reason == "")

    def teardown(self) -> None:
        """The journal gives the same state again."""
        if not hasattr(self, "state"):
            return
        assert everything(self.replayed()) == everything(self.state)
        assert self.twin is None or everything(self.twin) == everything(self.state)

    def replayed(self) -> StudyState:
        """A new state that has seen the same."""
        first, _ = self.journal[0]
        assert isinstance(first, ev.StudyStarted)
        again = StudyState(first.settings)
        for event, now in self.journal:
            again.handle(event, now)
        return again


World.TestCase.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
test_random_orders_of_events = World.TestCase
