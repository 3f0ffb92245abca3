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

from melissa_like.records import Purpose, Ranges, Window, num_samples

__all__ = ["Attempt", "Ledger", "SimulationState"]

_STORY_LENGTH = 6
_MOST_REASONS = 20
_UNKNOWN = -1


class SimulationState(IntEnum):
    """Where a simulation stands."""

    WAITING = 0
    RUNNING = 1
    SENT = 2  #: goodbye said, parts still on their way
    COMPLETE = 3
    GIVEN_UP = 4


class Attempt:
    """The present execution of a simulation.

    Attributes:
        parts_received: per server rank.
        parts_sent: what its goodbye said, once it has; None before.
        started_at: when it was given to its job.
        progressed_at: when something of it last arrived.
    """

    __slots__ = (
        "job",
        "number",
        "parts_received",
        "parts_sent",
        "progressed_at",
        "purpose",
        "simulation",
        "started_at",
    )

    def __init__(self, simulation: int, number: int, purpose: Purpose, job: str, num_server_ranks: int, now: float):
        self.simulation = simulation
        self.number = number
        self.purpose = purpose
        self.job = job
        self.parts_received = [0] * num_server_ranks
        self.parts_sent: tuple[int, ...] | None = None
        self.started_at = self.progressed_at = now

    def receive(self, rank: int, num_parts: int, now: float) -> None:
        """Take a server rank's report."""
        self.parts_received[rank] += num_parts
        self.progressed_at = now

    @property
    def all_parts_arrived(self) -> bool:
        """Whether every part that the goodbye counted was received; False before the goodbye."""
        sent = self.parts_sent
        return sent is not None and all(r >= s for r, s in zip(self.parts_received, sent, strict=True))


class Ledger:
    """All simulations of a study, numbered from 0 in the order of their listing, and counts that never need a scan.

    Args:
        num_parameters: of each simulation.

    Attributes:
        window: what a sample needs; None: one time step. Known before the first delivery.
        waiting: numbers of those that may be started, next first.
        in_progress: the attempts that run, or have sent everything and are awaited, by simulation.
        step_range: numbers of the first and the last step of the first simulation that was completed; None before.
        samples_given_up: training samples that will never come: of simulations that were given up, or dropped.
        samples_dropped: given up by themselves, by purpose.
        reasons: why the first simulations that were given up were, by number.
        last_words: of the logs or tracebacks of these.
    """

    def __init__(self, num_parameters: int) -> None:
        self.window: Window | None = None
        self.waiting: deque[int] = deque()
        self.in_progress: dict[int, Attempt] = {}
        self.step_range: tuple[int, int] | None = None
        self.num_complete = 0
        self.num_given_up = 0
        self.num_restarts = 0
        self.samples_given_up = 0
        self.samples_delivered = 0
        self.samples_dropped = dict.fromkeys(Purpose, 0)
        self.reasons: dict[int, str] = {}
        self.last_words: dict[int, str] = {}
        self.num_listed = dict.fromkeys(Purpose, 0)
        self.num_over = dict.fromkeys(Purpose, 0)
        self._num_parameters = num_parameters
        self._purposes = bytearray()
        self._states = bytearray()
        self._attempts = array("H")
        self._failures = array("H")
        self._num_steps = array("i")
        self._parameters = array("d")
        self._stories: dict[int, deque[str]] = {}
        # What is delivered, of the simulations that are not complete.
        self._delivered: dict[int, Ranges] = {}
        self._given_up: dict[int, int] = {}
        self._dropped: dict[int, Ranges] = {}
        self._known_samples = 0  # of training simulations that have said how many steps they have
        self._uncounted_samples = 0  # delivered or given up of those that have not

    def __len__(self) -> int:
        return len(self._states)

    # -- reading ------------------------------------------------------------------------------------------------------

    def state_of(self, simulation: int) -> SimulationState:
        """Where a simulation stands."""
        return SimulationState(self._states[simulation])

    def purpose_of(self, simulation: int) -> Purpose:
        """What a simulation is for."""
        return Purpose(self._purposes[simulation])

    def attempts_of(self, simulation: int) -> int:
        """Executions of a simulation that were begun; also the number of the newest."""
        return self._attempts[simulation]

    def failures_of(self, simulation: int) -> int:
        """Executions of a simulation that failed; one that ended with the server ranks has not."""
        return self._failures[simulation]

    def parameters_of(self, simulation: int) -> tuple[float, ...]:
        """The parameters, in the order of the layout."""
        first = simulation * self._num_parameters
        return tuple(self._parameters[first : first + self._num_parameters])

    def delivered_of(self, simulation: int) -> Ranges:
        """The samples that are delivered of a simulation which is not complete, by their (first) step."""
        return self._delivered.get(simulation, Ranges())

    def num_dropped(self, simulation: int) -> int:
        """Samples of a simulation that were given up by themselves."""
        return len(self._dropped.get(simulation, ()))

    def steps_of(self, simulation: int) -> int | None:
        """Time steps of a simulation, once one of its attempts has said goodbye."""
        num_steps = self._num_steps[simulation]
        return None if num_steps == _UNKNOWN else num_steps

    @property
    def samples_announced_given_up(self) -> int:
        """Training samples that will never come, of the simulations that are over."""
        ends = (SimulationState.COMPLETE, SimulationState.GIVEN_UP)
        not_over = (s for s in self._dropped if self._states[s] not in ends)
        early = sum(self.num_dropped(s) for s in not_over if self._purposes[s] == Purpose.TRAINING)
        return self.samples_given_up - early

    def settled_of(self, simulation: int) -> Ranges:
        """The samples of a simulation that no attempt need send any more: delivered, or given up by themselves."""
        delivered, dropped = self.delivered_of(simulation), self._dropped.get(simulation)
        return delivered if dropped is None else Ranges([*delivered.ranges, *dropped.ranges])

    def story_of(self, simulation: int) -> str:
        """The last events of a simulation that is not complete, for an error message."""
        return "; ".join(self._stories.get(simulation, ()))

    @property
    def all_over(self) -> bool:
        """Whether nothing more is expected of any listed simulation."""
        return self.num_complete + self.num_given_up == len(self)

    def samples_expected(self, num_simulations: int, num_steps: int | None) -> int:
        """Training samples of the whole study; of an adaptive solver, those known by now.

        Args:
            num_simulations: training simulations of the study.
            num_steps: time steps of each; None of an adaptive solver.
        """
        if num_steps is None:
            return self._known_samples + self._uncounted_samples
        return num_simulations * num_samples(num_steps, self.window)

    # -- the life of a simulation -------------------------------------------------------------------------------------

    def enlist(self, purpose: Purpose, parameters: Sequence[float]) -> int:
        """Add a simulation to those that wait; its number."""
        assert len(parameters) == self._num_parameters
        simulation = len(self)
        self._purposes.append(purpose)
        self._states.append(SimulationState.WAITING)
        self._attempts.append(0)
        self._failures.append(0)
        self._num_steps.append(_UNKNOWN)
        self._parameters.extend(parameters)
        self.num_listed[purpose] += 1
        self.waiting.append(simulation)
        return simulation

    def start_next(self, job: str, num_server_ranks: int, now: float) -> Attempt | None:
        """Begin the next attempt of the first waiting simulation."""
        if not self.waiting:
            return None
        simulation = self.waiting.popleft()
        self._states[simulation] = SimulationState.RUNNING
        self._attempts[simulation] += 1
        number = self._attempts[simulation]
        self.num_restarts += number > 1
        self.tell(simulation, f"attempt {number} given to {job}")
        attempt = Attempt(simulation, number, self.purpose_of(simulation), job, num_server_ranks, now)
        self.in_progress[simulation] = attempt
        return attempt

    def count_failure(self, simulation: int, what: str) -> None:
        """The present attempt has failed; what comes of it is decided elsewhere."""
        self._failures[simulation] += 1
        self.tell(simulation, what)

    def tell(self, simulation: int, what: str) -> None:
        """Add to the story of a simulation."""
        self._stories.setdefault(simulation, deque(maxlen=_STORY_LENGTH)).append(what)

    def deliver(self, simulation: int, samples: Sequence[int]) -> int:
        """Samples of a simulation are on a server rank, of whatever attempt; how many are new.

        Of one that was given up too: a sample completed before the server ranks heard of that is trained on.
        """
        if self._states[simulation] == SimulationState.COMPLETE:
            return 0
        known = self._delivered.get(simulation)
        if known is None:
            known = self._delivered[simulation] = Ranges()
        num_found = self._find(simulation, samples) if simulation in self._dropped else 0
        new = 0
        for sample in samples:  # mostly one
            new += known.add(sample)
        if new and self._purposes[simulation] == Purpose.TRAINING:
            self.samples_delivered += new
            if self._num_steps[simulation] == _UNKNOWN:
                self._uncounted_samples += new
            # Never below zero: of an adaptive solver's simulation nobody knows what was given up.
            found = min(new - num_found, self._given_up.get(simulation, 0))
            if found > 0:
                self._given_up[simulation] -= found
                self.samples_given_up -= found
                if self._num_steps[simulation] == _UNKNOWN:
                    self._uncounted_samples -= found
        return new

    def drop(self, simulation: int, samples: Iterable[int]) -> None:
        """Samples of a simulation are given up by themselves, of whatever attempt; each is counted once."""
        if simulation not in self.in_progress and self._states[simulation] != SimulationState.WAITING:
            return  # given up as a whole, these too
        known, delivered = self._dropped.setdefault(simulation, Ranges()), self.delivered_of(simulation)
        self._count_dropped(simulation, sum(known.add(sample) for sample in samples if sample not in delivered))

    def _find(self, simulation: int, samples: Iterable[int]) -> int:
        """How many of these were dropped; they are delivered after all, by a client that sends what it need not."""
        dropped = self._dropped[simulation]
        found = {sample for sample in samples if sample in dropped}
        for sample in found:
            dropped.discard(sample)
        self._count_dropped(simulation, -len(found))
        return len(found)

    def _count_dropped(self, simulation: int, num: int) -> None:
        purpose = self.purpose_of(simulation)
        self.samples_dropped[purpose] += num
        if purpose is Purpose.TRAINING:
            self.samples_given_up += num
            if self._num_steps[simulation] == _UNKNOWN:
                self._uncounted_samples += num

    def send(self, simulation: int, num_steps: int, parts_sent: Sequence[int], now: float) -> None:
        """Take the goodbye of the present attempt."""
        attempt = self.in_progress[simulation]
        attempt.parts_sent, attempt.progressed_at = tuple(parts_sent), now
        self._states[simulation] = SimulationState.SENT
        self._count_steps(simulation, num_steps)
        self.tell(simulation, f"goodbye after {num_steps} time steps")

    def num_missing(self, simulation: int) -> int:
        """Samples that are neither delivered nor dropped of a simulation that has said goodbye."""
        settled = len(self.delivered_of(simulation)) + self.num_dropped(simulation)
        return num_samples(self._num_steps[simulation], self.window) - settled

    def first_missing(self, simulation: int) -> int | None:
        """The (first) step of the first sample that is missing of a simulation that has said goodbye and lacks some.

        None if nobody can tell: nothing is there, or the solver does not number its steps 0, 1, 2, ...
        """
        settled, hop = self.settled_of(simulation), 1 if self.window is None else self.window.hop
        end = num_samples(self._num_steps[simulation], self.window) * hop
        if not len(settled) or settled.ranges[-1][1] > end:
            return None
        return next(step for step in range(0, end, hop) if step not in settled)

    def complete(self, simulation: int) -> None:
        """Every sample is on a server rank."""
        surplus = -self.num_missing(simulation)
        if surplus > 0:  # of an adaptive solver whose attempts differ: all that came counts
            more = surplus if self.window is None else surplus * self.window.hop
            self._count_steps(simulation, self._num_steps[simulation] + more)
        self._end(simulation, SimulationState.COMPLETE)
        self.num_complete += 1
        if self.step_range is None:
            self.step_range = self._range_of((self.settled_of(simulation),))
        # Of a complete simulation nothing is asked any more, and there may be many.
        self._delivered.pop(simulation, None)
        self._stories.pop(simulation, None)

    @property
    def range_so_far(self) -> tuple[int, int] | None:
        """Numbers of the first and the last step of all that was delivered, if no simulation was completed."""
        return self.step_range or self._range_of(self._delivered.values())

    def _range_of(self, samples: Iterable[Ranges]) -> tuple[int, int] | None:
        """From the first step of the first sample to the last step of the last one."""
        ranges = [one for some in samples for one in some.ranges]
        if not ranges:
            return None
        span = 1 if self.window is None else self.window.span
        return min(start for start, _ in ranges), max(end for _, end in ranges) - 2 + span

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
        if self._num_steps[simulation] == _UNKNOWN and expected_steps is not None:
            self._count_steps(simulation, expected_steps)
        if self._purposes[simulation] != Purpose.TRAINING:
            return 0
        dropped = self.num_dropped(simulation)
        if self._num_steps[simulation] == _UNKNOWN:
            return dropped
        missing = max(0, self.num_missing(simulation))
        self._given_up[simulation] = missing
        self.samples_given_up += missing
        return missing + dropped

    def _end(self, simulation: int, state: SimulationState) -> None:
        del self.in_progress[simulation]
        self._states[simulation] = state
        self.num_over[self.purpose_of(simulation)] += 1

    def _count_steps(self, simulation: int, num_steps: int) -> None:
        """Note how many steps a simulation has; the last attempt to say so counts."""
        if self._purposes[simulation] == Purpose.TRAINING:
            before = self._num_steps[simulation]
            if before == _UNKNOWN:
                given_up = self.num_dropped(simulation) + self._given_up.get(simulation, 0)
                self._uncounted_samples -= len(self.delivered_of(simulation)) + given_up
            else:
                self._known_samples -= num_samples(before, self.window)
            self._known_samples += num_samples(num_steps, self.window)
        self._num_steps[simulation] = num_steps

    # -- reported and durable -----------------------------------------------------------------------------------------

    def end_attempts(self) -> None:
        """The server ranks are gone, and what the attempts in progress had sent: others are due.

        What was delivered before counts until it is known what the next server ranks have of it.
        """
        for simulation in sorted(self.in_progress, reverse=True):
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
        due = []
        for simulation in sorted({*self._delivered, *delivered, *self._lacking(over), *self.unfinished_in(over)}):
            if simulation in over and self._num_steps[simulation] == _UNKNOWN and expected_steps is not None:
                self._count_steps(simulation, expected_steps)
            self._tally(simulation, -1)
            self._hold(simulation, simulation in over, delivered.get(simulation, Ranges()))
            self._tally(simulation, 1)
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

    def _hold(self, simulation: int, is_over: bool, there: Ranges) -> None:
        """Give a simulation the samples that the server ranks have of it, and the state that follows."""
        dropped = self._dropped.get(simulation, Ranges())
        for sample in [sample for sample in dropped if sample in there]:
            dropped.discard(sample)
            self.samples_dropped[self.purpose_of(simulation)] -= 1
        before = self._delivered.pop(simulation, Ranges())
        state = self._states[simulation]
        if state == SimulationState.GIVEN_UP:
            self._delivered[simulation] = held = before if is_over else there
            if self._num_steps[simulation] != _UNKNOWN:
                self._given_up[simulation] = max(0, self.num_missing(simulation))
            else:
                given_up = self._given_up.get(simulation, 0) + len(before) - len(held)
                self._given_up[simulation] = max(0, given_up)
            return
        if not is_over and len(there):
            self._delivered[simulation] = there
        knows_steps = self._num_steps[simulation] != _UNKNOWN
        is_over = knows_steps and (is_over or self.num_missing(simulation) <= 0)
        if is_over:
            self.step_range = self.step_range or self._range_of((there,))
            self._delivered.pop(simulation, None)
            self._stories.pop(simulation, None)
        self._states[simulation] = SimulationState.COMPLETE if is_over else SimulationState.WAITING
        change = is_over - (state == SimulationState.COMPLETE)
        self.num_complete += change
        self.num_over[self.purpose_of(simulation)] += change

    def _tally(self, simulation: int, sign: int) -> None:
        """Take the training samples of a simulation into the counts, or out of them."""
        if self._purposes[simulation] != Purpose.TRAINING:
            return
        dropped = self.num_dropped(simulation)
        given_up = dropped + self._given_up.get(simulation, 0)
        if self._states[simulation] == SimulationState.COMPLETE:
            delivered = num_samples(self._num_steps[simulation], self.window) - dropped
        else:
            delivered = len(self.delivered_of(simulation))
        self.samples_delivered += sign * delivered
        self.samples_given_up += sign * given_up
        if self._num_steps[simulation] == _UNKNOWN:
            self._uncounted_samples += sign * (delivered + given_up)
