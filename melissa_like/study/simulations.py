"""The ledger of simulations: what is waiting, running, sent, complete or given up, and what was delivered of each."""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from melissa_like.records import Purpose

__all__ = ["Ledger", "Simulation", "SimulationState"]

_STORY_LENGTH = 6
_NOTHING: frozenset[int] = frozenset()


class SimulationState(StrEnum):
    """Where a simulation stands."""

    WAITING = "waiting"
    RUNNING = "running"
    SENT = "sent"  #: goodbye said, parts still on their way
    COMPLETE = "complete"
    GIVEN_UP = "given up"


class Simulation:
    """One parameter set: its attempts and what has arrived.

    Attributes:
        delivered: time steps that server ranks hold complete, over all attempts; empty once it is complete.
        parts_received: parts of the present attempt per server rank.
        parts_sent: what the present attempt's goodbye said, once it has.
        num_given_up: training samples that were missing when it was given up and have not come since.
        progressed_at: when something of the present attempt last arrived.
    """

    __slots__ = (
        "attempt",
        "delivered",
        "job",
        "num_given_up",
        "num_steps",
        "parts_received",
        "parts_sent",
        "progressed_at",
        "purpose",
        "simulation",
        "state",
        "story",
    )

    def __init__(self, simulation: int, purpose: Purpose) -> None:
        self.simulation = simulation
        self.purpose = purpose
        self.state = SimulationState.WAITING
        self.attempt = 0
        self.job = ""
        self.delivered: set[int] | frozenset[int] = set()
        self.parts_received: list[int] = []
        self.parts_sent: tuple[int, ...] = ()
        self.num_steps: int | None = None
        self.num_given_up = 0
        self.progressed_at = 0.0
        self.story: deque[str] = deque(maxlen=_STORY_LENGTH)

    @property
    def over(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.state in (SimulationState.COMPLETE, SimulationState.GIVEN_UP)

    def start(self, job: str, num_server_ranks: int, now: float) -> None:
        """Begin the next attempt."""
        self.state = SimulationState.RUNNING
        self.attempt += 1
        self.job = job
        self.parts_received = [0] * num_server_ranks
        self.parts_sent = ()
        self.progressed_at = now
        self.story.append(f"attempt {self.attempt} given to {job}")

    def receive(self, rank: int, num_parts: int, now: float) -> None:
        """Take a server rank's report of the present attempt."""
        self.parts_received[rank] += num_parts
        self.progressed_at = now

    def sent(self, num_steps: int, parts_sent: Sequence[int], now: float) -> None:
        """Take the goodbye."""
        self.state = SimulationState.SENT
        self.num_steps = num_steps
        self.parts_sent = tuple(parts_sent)
        self.progressed_at = now
        self.story.append(f"goodbye after {num_steps} time steps")

    @property
    def all_parts_arrived(self) -> bool:
        """Whether every part that the goodbye counted was received."""
        return all(r >= s for r, s in zip(self.parts_received, self.parts_sent, strict=True))

    def forget_details(self) -> None:
        """Keep the number of steps only: of a complete simulation nothing else is asked, and there may be many."""
        self.delivered = _NOTHING
        self.parts_received, self.parts_sent = [], ()
        self.story.clear()

    def told(self) -> str:
        """The simulation's last events, for an error message."""
        return "; ".join(self.story)


class Ledger:
    """All simulations of a study and counts of them that never need a scan."""

    def __init__(self, purposes: Sequence[Purpose]) -> None:
        self.simulations = [Simulation(index, purpose) for index, purpose in enumerate(purposes)]
        # Held-out simulations run first, so that validation can begin while training does.
        order = sorted(range(len(purposes)), key=lambda index: purposes[index] is not Purpose.VALIDATION)
        self.waiting: deque[int] = deque(order)
        self.in_progress: dict[int, Simulation] = {}
        self.num_complete = 0
        self.num_given_up = 0
        self.num_restarts = 0
        self.samples_given_up = 0
        self.samples_delivered = 0

    def __getitem__(self, simulation: int) -> Simulation:
        return self.simulations[simulation]

    def __len__(self) -> int:
        return len(self.simulations)

    @property
    def all_over(self) -> bool:
        """Whether nothing more is expected of any simulation."""
        return self.num_complete + self.num_given_up == len(self.simulations)

    def start_next(self, job: str, num_server_ranks: int, now: float) -> Simulation | None:
        """Give the next waiting simulation to a job."""
        if not self.waiting:
            return None
        simulation = self.simulations[self.waiting.popleft()]
        simulation.start(job, num_server_ranks, now)
        self.in_progress[simulation.simulation] = simulation
        self.num_restarts += simulation.attempt > 1
        return simulation

    def deliver(self, simulation: Simulation, steps: Sequence[int]) -> None:
        """Samples of a simulation are on a server rank, of whatever attempt.

        Of one that was given up too: a sample completed before the server ranks heard of that is trained on.
        """
        before = len(simulation.delivered)
        simulation.delivered |= frozenset(steps)
        new = len(simulation.delivered) - before
        if simulation.purpose is Purpose.TRAINING:
            self.samples_delivered += new
            # Never below zero: of an adaptive solver's simulation nobody knows what was given up.
            given_up = min(new, simulation.num_given_up)
            simulation.num_given_up -= given_up
            self.samples_given_up -= given_up

    def complete(self, simulation: Simulation) -> None:
        """Every step is on a server rank."""
        del self.in_progress[simulation.simulation]
        simulation.state = SimulationState.COMPLETE
        simulation.forget_details()
        self.num_complete += 1

    def wait_again(self, simulation: Simulation) -> None:
        """Another attempt is due, before any new simulation."""
        del self.in_progress[simulation.simulation]
        simulation.state = SimulationState.WAITING
        self.waiting.appendleft(simulation.simulation)

    def give_up(self, simulation: Simulation, expected_steps: int | None) -> None:
        """No further attempt."""
        del self.in_progress[simulation.simulation]
        simulation.state = SimulationState.GIVEN_UP
        self.num_given_up += 1
        num_steps = simulation.num_steps or expected_steps or len(simulation.delivered)
        if simulation.purpose is Purpose.TRAINING:
            simulation.num_given_up = num_steps - len(simulation.delivered)
            self.samples_given_up += simulation.num_given_up

    def samples_expected(self, expected_steps: int | None) -> int:
        """Training samples of the whole study; of an adaptive solver, those known by now."""
        return sum(
            s.num_steps or expected_steps or len(s.delivered) for s in self.simulations if s.purpose is Purpose.TRAINING
        )
