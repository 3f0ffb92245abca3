"""Which samples of each simulation are delivered, dropped or given up, and counts of them that never need a scan.

Of a simulation that is complete nothing is kept but its number of steps: all its samples are delivered but those that
were dropped, and there may be a million such simulations.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Self, TypeAlias

import msgspec

from melissa_like.records import Purpose, Ranges, Window, num_samples, num_steps_in_no_window, steps_not_needed

__all__ = ["SampleBooks", "SampleBooksSnapshot"]

_UNKNOWN = -1


_RangesOf: TypeAlias = dict[int, tuple[tuple[int, int], ...]]


class SampleBooksSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What `SampleBooks` know; what is a `memoryview` has a number for each simulation."""

    window: Window | None
    num_delivered: int
    num_given_up: int
    num_dropped: dict[Purpose, int]
    step_range: tuple[int, int] | None
    is_trained_on: memoryview
    num_steps: memoryview
    delivered: _RangesOf
    given_up: dict[int, int]
    dropped: _RangesOf
    held: _RangesOf
    known: int
    uncounted: int


class SampleBooks:
    """The samples of all simulations of a study. Counts are of training samples; the ledger says what is complete.

    Attributes:
        window: what a sample needs; None: one time step. Known before the first delivery.
        num_delivered: as far as is known.
        num_given_up: that will never come: of simulations that were given up, or dropped.
        num_dropped: given up by themselves, by purpose, the held-out ones too.
        step_range: numbers of the first and the last step of the first simulation that was completed; None before.
    """

    def __init__(self) -> None:
        self.window: Window | None = None
        self.num_delivered = 0
        self.num_given_up = 0
        self.num_dropped = dict.fromkeys(Purpose, 0)
        self.step_range: tuple[int, int] | None = None
        self._is_trained_on = bytearray()
        self._num_steps = array("i")
        # What is delivered, of the simulations that are not complete.
        self._delivered: dict[int, Ranges] = {}
        self._given_up: dict[int, int] = {}  # of simulations that were given up, without what was dropped
        self._dropped: dict[int, Ranges] = {}
        self._held: dict[int, Ranges] = {}  # time steps, of the simulations that are not over
        self._known = 0  # of simulations that have said how many steps they have
        self._uncounted = 0  # delivered or given up of those that have not

    def enlist(self, purpose: Purpose, num: int) -> None:
        """The next simulations; nothing of them is there."""
        self._is_trained_on.extend(repeat(purpose == Purpose.TRAINING, num))
        self._num_steps.extend(repeat(_UNKNOWN, num))

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def touched(self) -> Iterable[int]:
        """The simulations that are not complete and of which something is delivered."""
        return self._delivered

    def delivered_of(self, simulation: int) -> Ranges:
        """The samples that are delivered of a simulation which is not complete, by their (first) step."""
        return self._delivered.get(simulation, Ranges())

    def num_dropped_of(self, simulation: int) -> int:
        """Samples of a simulation that were given up by themselves."""
        return len(self._dropped[simulation]) if simulation in self._dropped else 0

    def dropped_among(self, is_one: Sequence[bool] | bytes | bytearray) -> int:
        """Training samples that were dropped of the simulations for which this is true."""
        return sum(len(some) for s, some in self._dropped.items() if self._is_trained_on[s] and is_one[s])

    def steps_of(self, simulation: int) -> int | None:
        """Time steps of a simulation, once one of its attempts has said goodbye."""
        num_steps = self._num_steps[simulation]
        return None if num_steps == _UNKNOWN else num_steps

    def settled_of(self, simulation: int) -> Ranges:
        """The samples of a simulation that no attempt need send any more: delivered, or given up by themselves."""
        delivered, dropped = self.delivered_of(simulation), self._dropped.get(simulation)
        return delivered if dropped is None else Ranges([*delivered.ranges, *dropped.ranges])

    def steps_not_needed(self, simulation: int, num_steps: int | None) -> tuple[tuple[int, int], ...]:
        """The steps that an attempt of a simulation need not send, as half-open ranges.

        Args:
            simulation: that is not complete.
            num_steps: time steps of each; None of an adaptive solver.
        """
        if self.window is None and simulation not in self._delivered and simulation not in self._dropped:
            return ()  # nearly always
        not_needed = steps_not_needed(num_steps, self.settled_of(simulation), self.window).ranges
        held = self._held.get(simulation)
        return not_needed if held is None else Ranges([*not_needed, *held.ranges]).ranges

    def expected(self, num_simulations: int, num_steps: int | None) -> int:
        """Training samples of the whole study; of an adaptive solver, those known by now.

        Args:
            num_simulations: training simulations of the study.
            num_steps: time steps of each; None of an adaptive solver.
        """
        if num_steps is None:
            return self._known + self._uncounted
        return num_simulations * num_samples(num_steps, self.window)

    @property
    def num_steps_in_no_window(self) -> int:
        """Time steps that are part of no sample, of the training simulations that have said how many steps they have.

        Looks at all of them: for a report.
        """
        if self.window is None:
            return 0
        known = zip(self._num_steps, self._is_trained_on, strict=True)
        lengths = Counter(num_steps for num_steps, is_trained_on in known if is_trained_on and num_steps != _UNKNOWN)
        return sum(times * num_steps_in_no_window(num_steps, self.window) for num_steps, times in lengths.items())

    def num_missing(self, simulation: int) -> int:
        """Samples that are neither delivered nor dropped of a simulation that has said goodbye."""
        missing = self._num_steps[simulation]
        if self.window is not None:
            missing = num_samples(missing, self.window)
        if simulation in self._delivered:
            missing -= len(self._delivered[simulation])
        if simulation in self._dropped:
            missing -= len(self._dropped[simulation])
        return missing

    def first_missing(self, simulation: int) -> int | None:
        """The (first) step of the first sample that is missing of a simulation that has said goodbye and lacks some.

        None if nobody can tell: nothing is there, or the solver does not number its steps 0, 1, 2, ...
        """
        settled, hop = self.settled_of(simulation), 1 if self.window is None else self.window.hop
        end = num_samples(self._num_steps[simulation], self.window) * hop
        if not len(settled) or settled.ranges[-1][1] > end:
            return None
        return next(step for step in range(0, end, hop) if step not in settled)

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

    # -- what happens to a simulation that is not complete ------------------------------------------------------------

    def deliver(self, simulation: int, samples: Sequence[int]) -> int:
        """Samples are on a server rank, of whatever attempt; how many are new."""
        known = self._delivered.get(simulation)
        if known is None:
            known = self._delivered[simulation] = Ranges()
        num_found = self._find(simulation, samples) if simulation in self._dropped else 0
        new = 0
        for sample in samples:  # mostly one
            new += known.add(sample)
        if new and self._is_trained_on[simulation]:
            self.num_delivered += new
            found = 0
            if simulation in self._given_up:
                # Never below zero: of an adaptive solver's simulation nobody knows what was given up.
                found = max(0, min(new - num_found, self._given_up[simulation]))
                self._given_up[simulation] -= found
                self.num_given_up -= found
            if self._num_steps[simulation] == _UNKNOWN:
                self._uncounted += new - found
        return new

    def hold(self, simulation: int, steps: Iterable[int]) -> None:
        """Time steps are on a server rank, in windows that lack others; no attempt need send them again."""
        known = self._held.setdefault(simulation, Ranges())
        for step in steps:
            known.add(step)

    def release_held(self) -> None:
        """The server ranks are gone, and what was not delivered by then."""
        self._held.clear()

    def drop(self, simulation: int, samples: Iterable[int]) -> None:
        """Samples are given up by themselves, of whatever attempt; each is counted once."""
        known, delivered = self._dropped.setdefault(simulation, Ranges()), self.delivered_of(simulation)
        end = self._end_of(self._num_steps[simulation])
        num = sum(known.add(sample) for sample in samples if sample not in delivered and (end is None or sample < end))
        self._count_dropped(simulation, num)

    def _end_of(self, num_steps: int) -> int | None:
        """Behind the first step of the last window; None if it is not known, or samples are time steps."""
        if self.window is None or num_steps == _UNKNOWN:
            return None
        return num_samples(num_steps, self.window) * self.window.hop

    def _drop_none_beyond(self, simulation: int, num_steps: int) -> None:
        """A step that was dropped is also in windows which go beyond the end, once that is known: there are none."""
        end, dropped = self._end_of(num_steps), self._dropped.get(simulation)
        if end is None or dropped is None:
            return
        beyond = [sample for sample in dropped if sample >= end]
        for sample in beyond:
            dropped.discard(sample)
        self._count_dropped(simulation, -len(beyond))

    def _find(self, simulation: int, samples: Iterable[int]) -> int:
        """How many of these were dropped; they are delivered after all, by a client that sends what it need not."""
        dropped = self._dropped[simulation]
        found = {sample for sample in samples if sample in dropped}
        for sample in found:
            dropped.discard(sample)
        self._count_dropped(simulation, -len(found))
        return len(found)

    def _count_dropped(self, simulation: int, num: int) -> None:
        is_trained_on = self._is_trained_on[simulation]
        self.num_dropped[Purpose.TRAINING if is_trained_on else Purpose.VALIDATION] += num
        if is_trained_on:
            self.num_given_up += num
            if self._num_steps[simulation] == _UNKNOWN:
                self._uncounted += num

    def count_steps(self, simulation: int, num_steps: int) -> None:
        """Note how many steps a simulation has; the last attempt to say so counts."""
        self._drop_none_beyond(simulation, num_steps)
        if self._is_trained_on[simulation]:
            before = self._num_steps[simulation]
            if before == _UNKNOWN:
                if simulation in self._delivered:
                    self._uncounted -= len(self._delivered[simulation])
                if simulation in self._dropped or simulation in self._given_up:
                    self._uncounted -= self.num_dropped_of(simulation) + self._given_up.get(simulation, 0)
            else:
                self._known -= num_samples(before, self.window)
            self._known += num_samples(num_steps, self.window)
        self._num_steps[simulation] = num_steps

    def complete(self, simulation: int) -> int:
        """Every sample is on a server rank; how many of them were dropped instead."""
        surplus = -self.num_missing(simulation)
        if surplus > 0:  # of an adaptive solver whose attempts differ: all that came counts
            more = surplus if self.window is None else surplus * self.window.hop
            self.count_steps(simulation, self._num_steps[simulation] + more)
        if self.step_range is None:
            self.step_range = self._range_of((self.settled_of(simulation),))
        self._delivered.pop(simulation, None)
        self._held.pop(simulation, None)
        return self.num_dropped_of(simulation)

    def give_up(self, simulation: int, expected_steps: int | None) -> int:
        """Nothing more comes; how many training samples never will, the dropped ones included."""
        self._held.pop(simulation, None)
        if self._num_steps[simulation] == _UNKNOWN and expected_steps is not None:
            self.count_steps(simulation, expected_steps)
        if not self._is_trained_on[simulation]:
            return 0
        dropped = self.num_dropped_of(simulation)
        if self._num_steps[simulation] == _UNKNOWN:
            return dropped
        missing = max(0, self.num_missing(simulation))
        self._given_up[simulation] = missing
        self.num_given_up += missing
        return missing + dropped

    # -- for a resume -------------------------------------------------------------------------------------------------

    def snapshot(self) -> SampleBooksSnapshot:
        """All of it. It looks into these arrays: encode it before anything is changed."""
        return SampleBooksSnapshot(
            window=self.window,
            num_delivered=self.num_delivered,
            num_given_up=self.num_given_up,
            num_dropped=self.num_dropped,
            step_range=self.step_range,
            is_trained_on=memoryview(self._is_trained_on),
            num_steps=memoryview(self._num_steps),
            delivered={simulation: some.ranges for simulation, some in self._delivered.items()},
            given_up=self._given_up,
            dropped={simulation: some.ranges for simulation, some in self._dropped.items()},
            held={simulation: some.ranges for simulation, some in self._held.items()},
            known=self._known,
            uncounted=self._uncounted,
        )

    @classmethod
    def from_snapshot(cls, kept: SampleBooksSnapshot) -> Self:
        """The books of which a snapshot was taken."""
        made = cls()
        made.window, made.step_range = kept.window, kept.step_range
        made.num_delivered, made.num_given_up, made.num_dropped = (
            kept.num_delivered,
            kept.num_given_up,
            kept.num_dropped,
        )
        made._is_trained_on.extend(kept.is_trained_on)
        made._num_steps.frombytes(kept.num_steps)
        made._delivered = {simulation: Ranges(some) for simulation, some in kept.delivered.items()}
        made._given_up = kept.given_up
        made._dropped = {simulation: Ranges(some) for simulation, some in kept.dropped.items()}
        made._held = {simulation: Ranges(some) for simulation, some in kept.held.items()}
        made._known, made._uncounted = kept.known, kept.uncounted
        return made

    # -- what restored server ranks have ------------------------------------------------------------------------------

    def restore(self, simulation: int, there: Ranges, *, was_complete: bool, is_complete: bool) -> bool:
        """Set what is delivered of a simulation that was not given up; whether it is complete now.

        Args:
            simulation: that was complete, or waits.
            there: what the server ranks have of it.
            was_complete: so far.
            is_complete: they lack nothing; if the number of its steps is known.
        """
        self._tally(simulation, -1, was_complete)
        self._keep_dropped(simulation, there)
        self._delivered.pop(simulation, None)
        if not is_complete and len(there):
            self._delivered[simulation] = there
        knows_steps = self._num_steps[simulation] != _UNKNOWN
        is_complete = knows_steps and (is_complete or self.num_missing(simulation) <= 0)
        if is_complete:
            self.step_range = self.step_range or self._range_of((there,))
            self._delivered.pop(simulation, None)
        self._tally(simulation, 1, is_complete)
        return is_complete

    def restore_given_up(self, simulation: int, there: Ranges | None) -> None:
        """Set what is delivered of a simulation that was given up; what is lost of it is given up as well.

        Args:
            simulation: that was given up.
            there: what the server ranks have of it; None: all that ever came.
        """
        self._tally(simulation, -1, False)
        before = self.delivered_of(simulation)
        held = before if there is None else there
        self._keep_dropped(simulation, held)
        self._delivered[simulation] = held
        if self._num_steps[simulation] != _UNKNOWN:
            given_up = self.num_missing(simulation)
        else:
            given_up = self._given_up.get(simulation, 0) + len(before) - len(held)
        self._given_up[simulation] = max(0, given_up)
        self._tally(simulation, 1, False)

    def _keep_dropped(self, simulation: int, there: Ranges) -> None:
        """What was dropped stays so, unless it is there after all."""
        dropped = self._dropped.get(simulation, Ranges())
        purpose = Purpose.TRAINING if self._is_trained_on[simulation] else Purpose.VALIDATION
        for sample in [sample for sample in dropped if sample in there]:
            dropped.discard(sample)
            self.num_dropped[purpose] -= 1

    def _tally(self, simulation: int, sign: int, is_complete: bool) -> None:
        """Take the training samples of a simulation into the counts, or out of them."""
        if not self._is_trained_on[simulation]:
            return
        dropped = self.num_dropped_of(simulation)
        given_up = dropped + self._given_up.get(simulation, 0)
        if is_complete:
            delivered = num_samples(self._num_steps[simulation], self.window) - dropped
        else:
            delivered = len(self.delivered_of(simulation))
        self.num_delivered += sign * delivered
        self.num_given_up += sign * given_up
        if self._num_steps[simulation] == _UNKNOWN:
            self._uncounted += sign * (delivered + given_up)
