"""A study's state machine, driven by hand: what its peers say, in short, and the commands that follow."""

from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from melissa_like.protocol import control as say
from melissa_like.protocol.reports import Summary
from melissa_like.records import ClientRank, Purpose, Ranges, ServerRank
from melissa_like.study import StudySettings, StudyState
from melissa_like.study import commands as do
from melissa_like.study import events as ev
from melissa_like.study.books import BooksSnapshot

WELCOME = say.Welcome(
    server_endpoints=(),
    server_incarnation=0,
    launcher_incarnation=1,
    routing=0,
    layout_id=7,
    fields=(),
    parameters=("a",),
    num_steps=2,
    budget_bytes=1,
    heartbeat_s=2.0,
    orphan_timeout_s=300.0,
)
SETTINGS = StudySettings(
    welcome=WELCOME,
    num_simulations=2,
    num_validation_simulations=1,
    num_ranks=2,
    max_jobs=1,
    max_attempts=2,
    max_failed_starts=2,
    max_failed_fraction=0.5,
    step_timeout_s=100.0,
    delivery_timeout_s=10.0,
    start_timeout_s=50.0,
)
STARTED = ev.StudyStarted(settings=SETTINGS)
JOB = "job-0001"
RANK_0 = ClientRank(JOB)
SERVER = ServerRank(0)


def only_training(num: int) -> dict[str, object]:
    """Settings of a study without held-out simulations."""
    return {"num_simulations": num, "num_validation_simulations": 0}


def tell(job: str, message: say.ControlMessage, rank: int = 0) -> do.Tell:
    return do.Tell(address=ClientRank(job, rank), message=message)


def over(simulation: int, purpose: Purpose = Purpose.TRAINING, given_up: int = 0, rank: int = 0) -> do.Tell:
    message = say.SimulationOver(simulation=simulation, purpose=purpose, samples_given_up=given_up)
    return do.Tell(address=ServerRank(rank), message=message)


FINISH = say.Finish(reason="no simulation is left")
HELD_OUT_OVER = do.Tell(address=SERVER, message=say.HeldOutOver())


class Study:
    """A state and its clock, spoken to in short sentences. The sampler answers at once: simulation i gets 10 + i."""

    def __init__(self, *, answers: bool = True, num_steps: int | None = 2, **changes: object) -> None:
        welcome = msgspec.structs.replace(WELCOME, num_steps=num_steps)
        self.state = StudyState(replace(SETTINGS, welcome=welcome, **changes))
        self.now = 0.0
        self.answers = answers
        self.step_ranges: list[tuple[int, int]] = []

    def on(self, event: ev.Event, after: float = 0.0) -> tuple[do.Command, ...]:
        self.now += after
        commands = []
        for command in self.state.handle(event, self.now):
            if isinstance(command, do.Tell) and isinstance(command.message, say.StepRange):
                self.step_ranges.append((command.message.first, command.message.last))  # of whatever test
                continue
            if isinstance(command, do.AskParameters) and self.answers:
                rows = tuple((float(10 + command.first + i),) for i in range(command.num))
                commands += self.on(ev.ParametersDrawn(purpose=command.purpose, parameters=rows))
            else:
                commands.append(command)
        return tuple(commands)

    def hear(
        self, message: say.ControlMessage, job: str = JOB, rank: int = 0, after: float = 0.0
    ) -> tuple[do.Command, ...]:
        return self.on(ev.Said(address=ClientRank(job, rank), message=message), after)

    def server(self, message: say.ControlMessage, rank: int = 0, after: float = 0.0) -> tuple[do.Command, ...]:
        address = ServerRank(rank, self.state.server_incarnation)
        return self.on(ev.Said(address=address, message=message), after)

    def ready(self, rank: int = 0) -> tuple[do.Command, ...]:
        hello = say.ServerHello(
            endpoint=f"tcp://s{rank}", host="h", pid=1, device="cpu", rendezvous="" if rank else "h:1"
        )
        return self.server(hello, rank)

    def started(self) -> "Study":
        self.on(STARTED)
        for rank in range(self.state.settings.num_server_ranks):
            self.ready(rank)
        return self

    def greeted(self, job: str = JOB) -> "Study":
        self.on(ev.JobStarted(job=job))
        self.hear(say.Hello(num_ranks=2, host="h", pid=1), job)
        return self

    def requests(self, job: str = JOB) -> tuple[do.Command, ...]:
        return self.hear(say.Request(), job)

    def assigned(self, job: str = JOB) -> say.Assignment:
        (given,) = [command.message for command in self.requests(job) if isinstance(command, do.Tell)]
        assert isinstance(given, say.Assignment)
        return given

    def sent(
        self, given: say.Assignment, parts: int | tuple[int, ...] = 4, num_steps: int = 2, job: str = JOB
    ) -> tuple[do.Command, ...]:
        parts_sent = parts if isinstance(parts, tuple) else (parts,)
        return self.hear(
            say.Goodbye(simulation=given.simulation, attempt=given.attempt, num_steps=num_steps, parts_sent=parts_sent),
            job,
        )

    def delivered(
        self, given: say.Assignment, steps: tuple[int, ...] = (0, 1), parts: int = 4, after: float = 0.0
    ) -> tuple[do.Command, ...]:
        delivery = say.Delivery(simulation=given.simulation, attempt=given.attempt, steps=steps, num_parts=parts)
        return self.server(say.Progress(deliveries=(delivery,)), after=after)

    def ended(self, job: str = JOB, message: str = "exit code 1", tail: str = "") -> tuple[do.Command, ...]:
        return self.on(ev.JobEnded(job=job, exit_code=1, message=message, log_tail=tail))

    def restored(self, rank: int = 0, checkpoint: int | None = None, **held: object) -> tuple[do.Command, ...]:
        return self.server(say.Restored(checkpoint=checkpoint, **held), rank)

    def trained(self, end: say.TrainingEnd = "drained", rank: int = 0) -> tuple[do.Command, ...]:
        return self.server(say.ServerFinished(end=end, summary=Summary()), rank)


def kinds(commands: tuple[do.Command, ...]) -> list[str]:
    return [type(command).__name__ for command in commands]


def everything(state: StudyState) -> bytes:
    """All that a study knows, as it is in a snapshot."""
    return msgspec.msgpack.encode(state.snapshot()) + state.ledger.parameters.tobytes()


def from_snapshot(state: StudyState) -> StudyState:
    """A state of its own, from what a snapshot of this one holds."""
    encoded, parameters = msgspec.msgpack.encode(state.snapshot()), array("d", state.ledger.parameters)
    return StudyState.from_snapshot(msgspec.msgpack.decode(encoded, type=BooksSnapshot), parameters)


#: What is of the event that is being handled; settings of parts that never look at what `Scale` changes; and jobs, of
#: which those that have ended are left out.
_NOT_ALL_THE_SAME = {"now", "settled", "_commands", "_settings", "unserved", "hungry"}


def inside(thing: Any) -> Any:
    """All that an object of a study's state is made of, whatever it says of itself."""
    if isinstance(thing, Ranges):
        return thing.ranges
    if isinstance(thing, Mapping):
        return [(key, inside(value)) for key, value in thing.items()]
    if isinstance(thing, list | tuple | deque | array | bytearray):
        return [inside(value) for value in thing]
    if hasattr(thing, "__dict__") and type(thing).__module__.startswith("melissa_like.study"):
        return {name: inside(value) for name, value in vars(thing).items() if name not in _NOT_ALL_THE_SAME}
    return thing
