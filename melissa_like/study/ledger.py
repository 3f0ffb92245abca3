"""The ledger of simulations: which exist, their attempts, and which samples of them are delivered.

It is made for a million simulations: what is kept of every one is a row of numbers in a few arrays, what is kept of
those in progress is an `Attempt`, and of those waiting or complete nothing more. The unit of the books is the sample.

A delivery is *reported* when a server rank has told of it, and *durable* when a checkpoint holds it. Which ones are
durable the server ranks say themselves, when they have loaded a checkpoint: `restore` takes back all others.
"""

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import repeat
from typing import Self

import msgspec

from melissa_like.records import Purpose, Ranges
from melissa_like.study.attempts import Attempt
from melissa_like.study.samples import SampleBooks, SampleBooksSnapshot

__all__ = ["Ledger", "LedgerSnapshot", "SimulationState"]

_STORY_LENGTH = 6
_MOST_REASONS = 20


class SimulationState(IntEnum):
    """Where a simulation stands."""

    WAITING = 0
    RUNNING = 1
    SENT = 2  #: goodbye said, parts still on their way
    COMPLETE = 3
    GIVEN_UP = 4


_PURPOSES = tuple(Purpose)  # by number: faster than Purpose(number)

#: From a state to whether something is still to come.
_GOES_ON = bytes(state not in (SimulationState.COMPLETE, SimulationState.GIVEN_UP) for state in SimulationState)
_GOES_ON += bytes(256 - len(_GOES_ON))


class LedgerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger without the parameters; what is a `memoryview` has a number for each simulation."""

    samples: SampleBooksSnapshot
    waiting: memoryview
    in_progress: tuple[Attempt, ...]
    num_complete: int
    num_given_up: int
    num_restarts: int
    reasons: dict[int, str]
    last_words: dict[int, str]
    num_listed: dict[Purpose, int]
    num_over: dict[Purpose, int]
    num_parameters: int
    purposes: memoryview
    states: memoryview
    attempts: memoryview
    failures: memoryview
    stories: dict[int, tuple[str, ...]]
    losses: dict[int, int]


class Ledger:
    """All simulations of a study, numbered from 0 in the order of their listing, and counts that never need a scan.

    Args:
        num_parameters: of each simulation.

    Attributes:
        samples: of all simulations.
        waiting: numbers of those that may be started, next first.
        in_progress: the attempts that run, or have sent everything and are awaited, by simulation.
        reasons: why the first simulations that were given up were, by number.
        last_words: of the logs or tracebacks of these.
        parameters: of all simulations, in one row; only grows.
    """

    def __init__(self, num_parameters: int) -> None:
        self.samples = SampleBooks()
        self.waiting: deque[int] = deque()
        self.in_progress: dict[int, Attempt] = {}
        self.num_complete = 0
        self.num_given_up = 0
        self.num_restarts = 0
        self.reasons: dict[int, str] = {}
        self.last_words: dict[int, str] = {}
        self.num_listed = dict.fromkeys(Purpose, 0)
        self.num_over = dict.fromkeys(Purpose, 0)
        self._num_parameters = num_parameters
        self._purposes = bytearray()
        self._states = bytearray()
        self._attempts = array("H")
        self._failures = array("H")
        self.parameters = array("d")
        self._stories: dict[int, deque[str]] = {}
        self._losses: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._states)

    # -- reading ------------------------------------------------------------------------------------------------------

    def state_of(self, simulation: int) -> SimulationState:
        """Where a simulation stands."""
        return SimulationState(self._states[simulation])

    def purpose_of(self, simulation: int) -> Purpose:
        """What a simulation is for."""
        return _PURPOSES[self._purposes[simulation]]

    def has_begun(self, simulation: int, attempt: int) -> bool:
        """Whether there is such a simulation, and such an execution of it was begun."""
        return 0 <= simulation < len(self._attempts) and 1 <= attempt <= self._attempts[simulation]

    def attempts_of(self, simulation: int) -> int:
        """Executions of a simulation that were begun; also the number of the newest."""
        return self._attempts[simulation]

    def failures_of(self, simulation: int) -> int:
        """Executions of a simulation that failed; one that ended with the server ranks has not."""
        return self._failures[simulation]

    def losses_of(self, simulation: int) -> int:
        """Executions of a simulation that is not complete which the machine has lost."""
        return self._losses.get(simulation, 0)

    def parameters_of(self, simulation: int) -> tuple[float, ...]:
        """The parameters, in the order of the layout."""
        first = simulation * self._num_parameters
        return tuple(self.parameters[first : first + self._num_parameters])

    @property
    def samples_announced_given_up(self) -> int:
        """Training samples that will never come, of the simulations that are over."""
        goes_on = self._states.translate(_GOES_ON)
        return self.samples.num_given_up - self.samples.dropped_among(goes_on)

    def story_of(self, simulation: int) -> str:
        """The last events of a simulation that is not complete, for an error message."""
        return "; ".join(self._stories.get(simulation, ()))

    @property
    def all_over(self) -> bool:
        """Whether nothing more is expected of any listed simulation."""
        return not self.waiting and not self.in_progress

    # -- the life of a simulation -------------------------------------------------------------------------------------

    def enlist(self, purpose: Purpose, parameters: Sequence[Sequence[float]]) -> None:
        """Add simulations of these parameters to those that wait."""
        first, num = len(self), len(parameters)
        self._purposes.extend(repeat(purpose, num))
        self._states.extend(repeat(SimulationState.WAITING, num))
        self._attempts.extend(repeat(0, num))
        self._failures.extend(repeat(0, num))
        self.samples.enlist(purpose, num)
        for row in parameters:
            assert len(row) == self._num_parameters
            self.parameters.extend(row)
        self.num_listed[purpose] += num
        self.waiting.extend(range(first, first + num))

    def start_next(self, job: str, num_server_ranks: int, now: float) -> Attempt | None:
        """Begin the next attempt of the first waiting simulation."""
        if not self.waiting:
            return None
        simulation = self.waiting.popleft()
        self._states[simulation] = SimulationState.RUNNING
        self._attempts[simulation] += 1
        number = self._attempts[simulation]
        self.num_restarts += number > 1
        attempt = Attempt(
            simulation=simulation,
            number=number,
            purpose=self.purpose_of(simulation),
            job=job,
            parts_received=[0] * num_server_ranks,
            started_at=now,
            progressed_at=now,
        )
        self.in_progress[simulation] = attempt
        return attempt

    def count_failure(self, simulation: int, what: str) -> None:
        """The present attempt has failed; what comes of it is decided elsewhere."""
        self._failures[simulation] += 1
        self._tell(self.in_progress[simulation], what)

    def count_loss(self, simulation: int, what: str) -> None:
        """The present attempt was lost with its node, say: no failure of the simulation."""
        self._losses[simulation] = self.losses_of(simulation) + 1
        self._tell(self.in_progress[simulation], what)

    def _tell(self, attempt: Attempt, what: str) -> None:
        """Add the life of an attempt, and how it ended, to the story of its simulation."""
        story = self._stories.setdefault(attempt.simulation, deque(maxlen=_STORY_LENGTH))
        story.append(f"attempt {attempt.number} given to {attempt.job}")
        if attempt.parts_sent is not None:
            story.append(f"goodbye after {self.samples.steps_of(attempt.simulation)} time steps")
        story.append(what)

    def deliver(self, simulation: int, samples: Sequence[int]) -> int:
        """Samples of a simulation are on a server rank, of whatever attempt; how many are new.

        Of one that was given up too: a sample completed before the server ranks heard of that is trained on.
        """
        if self._states[simulation] == SimulationState.COMPLETE:
            return 0
        return self.samples.deliver(simulation, samples)

    def drop(self, simulation: int, samples: Iterable[int]) -> None:
        """Samples of a simulation are given up by themselves, of whatever attempt; each is counted once."""
        if simulation not in self.in_progress and self._states[simulation] != SimulationState.WAITING:
            return  # given up as a whole, these too
        self.samples.drop(simulation, samples)

    def hold(self, simulation: int, steps: Iterable[int]) -> None:
        """Time steps of a simulation that no attempt need send as long as the server ranks live."""
        if simulation in self.in_progress or self._states[simulation] == SimulationState.WAITING:
            self.samples.hold(simulation, steps)

    def send(self, simulation: int, num_steps: int, parts_sent: Sequence[int], now: float) -> None:
        """Take the goodbye of the present attempt."""
        attempt = self.in_progress[simulation]
        attempt.parts_sent, attempt.progressed_at = tuple(parts_sent), now
        self._states[simulation] = SimulationState.SENT
        self.samples.count_steps(simulation, num_steps)

    def complete(self, simulation: int) -> int:
        """Every sample is on a server rank; how many of them were dropped instead."""
        self._end(simulation, SimulationState.COMPLETE)
        self.num_complete += 1
        self._stories.pop(simulation, None)  # nothing is asked of it any more, and there may be many
        self._losses.pop(simulation, None)
        return self.samples.complete(simulation)

    def wait_again(self, simulation: int) -> None:
        """Another attempt is due, before any new simulation."""
        del self.in_progress[simulation]
        self._states[simulation] = SimulationState.WAITING
        self.waiting.appendleft(simulation)

    def give_up(self, simulation: int, expected_steps: int | None, *, reason: str = "", last_words: str = "") -> int:
        """No further attempt; how many training samples will never come, the dropped ones included."""
        self._end(simulation, SimulationState.GIVEN_UP)
        self.num_given_up += 1
        if len(self.reasons) < _MOST_REASONS:
            self.reasons[simulation], self.last_words[simulation] = reason, last_words
        return self.samples.give_up(simulation, expected_steps)

    def _end(self, simulation: int, state: SimulationState) -> None:
        self._states[simulation] = state
        self.num_over[self.in_progress.pop(simulation).purpose] += 1

    # -- for a resume -------------------------------------------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """All but the parameters. It looks into the arrays of the ledger: encode it before anything is changed."""
        return LedgerSnapshot(
            samples=self.samples.snapshot(),
            waiting=memoryview(array("q", self.waiting)),
            in_progress=tuple(self.in_progress.values()),
            num_complete=self.num_complete,
            num_given_up=self.num_given_up,
            num_restarts=self.num_restarts,
            reasons=self.reasons,
            last_words=self.last_words,
            num_listed=self.num_listed,
            num_over=self.num_over,
            num_parameters=self._num_parameters,
            purposes=memoryview(self._purposes),
            states=memoryview(self._states),
            attempts=memoryview(self._attempts),
            failures=memoryview(self._failures),
            stories={simulation: tuple(story) for simulation, story in self._stories.items()},
            losses=self._losses,
        )

    @classmethod
    def from_snapshot(cls, kept: LedgerSnapshot, parameters: "array[float]") -> Self:
        """The ledger of which a snapshot was taken.

        Args:
            kept: of it.
            parameters: as `Ledger.parameters` was.
        """
        made = cls(kept.num_parameters)
        made.samples = SampleBooks.from_snapshot(kept.samples)
        waiting = array("q")
        waiting.frombytes(kept.waiting)
        made.waiting.extend(waiting)
        made.in_progress.update((attempt.simulation, attempt) for attempt in kept.in_progress)
        made.num_complete, made.num_given_up = kept.num_complete, kept.num_given_up
        made.num_restarts = kept.num_restarts
        made.reasons, made.last_words = kept.reasons, kept.last_words
        made.num_listed, made.num_over = kept.num_listed, kept.num_over
        made.parameters = parameters
        made._purposes.extend(kept.purposes)
        made._states.extend(kept.states)
        made._attempts.frombytes(kept.attempts)
        made._failures.frombytes(kept.failures)
        made._stories = {number: deque(story, maxlen=_STORY_LENGTH) for number, story in kept.stories.items()}
        made._losses = kept.losses
        return made

    # -- reported and durable -----------------------------------------------------------------------------------------

    def end_attempts(self) -> None:
        """The server ranks are gone, and what the attempts in progress had sent: others are due.

        What was delivered before counts until it is known what the next server ranks have of it.
        """
        self.samples.release_held()
        for simulation in sorted(self.in_progress, reverse=True):
            self._tell(self.in_progress[simulation], "the server ranks were lost")
            self.wait_again(simulation)

    def unfinished_in(self, over: Ranges) -> Iterator[int]:
        """The simulations among these that are neither complete nor given up."""
        ends = (SimulationState.COMPLETE, SimulationState.GIVEN_UP)
        for start, end in over.ranges:
            states = self._states[start:end]
            if sum(states.count(state) for state in ends) < len(states):
                yield from (start + i for i, state in enumerate(states) if state not in ends)

    def restore(self, over: Ranges, delivered: Mapping[int, Ranges], expected_steps: int | None) -> None:
        """Set the books to what the server ranks have loaded: what they lack is due again, before anything new.

        A simulation that was given up stays so, and what is lost of it is given up as well; what was dropped stays so.

        Args:
            over: simulations of which the server ranks lack nothing that ever came.
            delivered: the samples that they have of the others.
            expected_steps: of a simulation that has not said how many it has; None: nobody knows.
        """
        assert not self.in_progress, "attempts go on while the server ranks are restored"
        self.samples.release_held()
        due = []
        touched = {*self.samples.touched, *delivered, *self._lacking(over), *self.unfinished_in(over)}
        for simulation in sorted(touched):
            is_over, there = simulation in over, delivered.get(simulation, Ranges())
            if self._states[simulation] == SimulationState.GIVEN_UP:
                self.samples.restore_given_up(simulation, None if is_over else there)
                continue
            if is_over and self.samples.steps_of(simulation) is None and expected_steps is not None:
                self.samples.count_steps(simulation, expected_steps)
            self._restore(simulation, is_over, there)
            if self._states[simulation] == SimulationState.WAITING:
                due.append(simulation)
        first = frozenset(due)
        rest = [s for s in self.waiting if s not in first and self._states[s] == SimulationState.WAITING]
        self.waiting.clear()
        self.waiting.extend([*due, *rest])

    def _lacking(self, over: Ranges) -> Iterator[int]:
        """The complete simulations that are not among these."""
        after = 0
        for start, end in (*over.ranges, (len(self), len(self))):
            found = self._states.find(SimulationState.COMPLETE, after, start)
            while found >= 0:
                yield found
                found = self._states.find(SimulationState.COMPLETE, found + 1, start)
            after = end

    def _restore(self, simulation: int, is_over: bool, there: Ranges) -> None:
        was_complete = self._states[simulation] == SimulationState.COMPLETE
        is_complete = self.samples.restore(simulation, there, was_complete=was_complete, is_complete=is_over)
        if is_complete:
            self._stories.pop(simulation, None)
        self._states[simulation] = SimulationState.COMPLETE if is_complete else SimulationState.WAITING
        self.num_complete += is_complete - was_complete
        self.num_over[self.purpose_of(simulation)] += is_complete - was_complete
