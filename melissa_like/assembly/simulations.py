"""A simulation that is not over, as its client ranks opened it."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.once import SentOnce
from melissa_like.assembly.opening import Opening
from melissa_like.assembly.partial import PartialSample
from melissa_like.assembly.places import Place, Places
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.assembly.tally import WindowTally
from melissa_like.protocol.wire import Header
from melissa_like.records import Purpose, Sample, SampleKey

__all__ = ["OpenSimulation"]


@dataclass(slots=True)
class OpenSimulation:
    """How the newest attempt was opened, and what is complete of all attempts.

    Attributes:
        consumer: of its purpose.
        completed: the steps that are complete and need not come again: of all attempts; where samples are windows, of
            this one, and of others those that no window needs any more.
        not_needed: of these steps those that never came whole: all their windows were given up.
        partials: what has arrived of the others, by step.
        accepted: headers of its parts, as the assembler remembers them.
        tally: of its windows; None: a sample is one time step.
        places: of its fields; all simulations have the same unless they have their own sizes.
        once: what it sends once; None: the study has neither extents nor static fields.
        waiting: time steps that only lack what is sent once, in the order in which they were whole.
    """

    number: int
    attempt: int
    purpose: Purpose
    consumer: Consumer
    num_client_ranks: int
    opening: Opening
    places: Places
    completed: CompletedSteps
    not_needed: set[int]
    partials: dict[int, PartialSample] = field(default_factory=dict)
    accepted: list[bytes] = field(default_factory=list)
    tally: WindowTally | None = None
    once: SentOnce | None = None
    waiting: deque[int] = field(default_factory=deque)

    @property
    def lacks_static(self) -> bool:
        """Whether no time step is complete because something is missing that is sent once."""
        return self.once is not None and self.once.complete is None

    @property
    def samples(self) -> CompletedSteps:
        """The samples of all attempts that are complete, by their (first) steps."""
        return self.completed if self.tally is None else self.tally.formed

    def place_of(self, header: Header) -> Place | Refusal:
        """Where a part lies in its time step."""
        if not header.kind.is_scattered:
            return self.places.of_box(header)
        if self.once is not None:
            return self.places.of_points(header, self.once.lists)
        return refusal_of(header, Reason.UNDECLARED_FIELD, "it sends points by an index list, but no field has any")

    def complete(self, step: int) -> Sample:
        """A time step of which nothing is missing, as a sample."""
        partial = self.partials.pop(step)
        self.completed.add(step)
        return Sample(
            key=SampleKey(self.number, step),
            attempt=self.attempt,
            purpose=self.purpose,
            time=partial.time,
            parameters=self.opening.parameters,
            fields=partial.fields,
            windows=None if self.tally is None else self.tally.add(step),
            static=None if self.once is None else self.once.complete,
        )

    def complete_waiting(self) -> Sample | None:
        """A time step that has waited for what is sent once."""
        while self.waiting and not self.lacks_static:
            step = self.waiting.popleft()
            if step in self.partials:  # else it was given up meanwhile
                return self.complete(step)
        return None

    def retract(self, sample: Sample, delivered: Collection[int]) -> None:
        """A sample that was complete was not taken; see `Assembler.retract`."""
        self.completed.discard(sample.key.step)
        if self.tally is not None and sample.windows is not None:
            self.tally.retract(sample.key.step, sample.windows, delivered)

    def give_up(self, sample: Sample) -> tuple[int, ...]:
        """A sample that was complete must not be learned from; see `Assembler.give_up`."""
        if self.tally is None or sample.windows is None:
            return (sample.key.step,)
        lost = self.tally.give_up(sample.key.step, sample.windows)
        others = [other for other in self.tally.not_needed(lost) if other not in self.completed]
        for other in others:
            self.completed.add(other)
            self.not_needed.add(other)
            self.partials.pop(other, None)
        self.tally.spend(others)
        return lost

    def refuse_other_opening(self, header: Header, opening: Opening) -> Refusal | None:
        """An OPEN of the same attempt that says other numbers."""
        mine, other = self.opening, opening
        if np.array_equal(mine.parameters, other.parameters, equal_nan=True) and mine.extents == other.extents:
            return None
        return refusal_of(
            header,
            Reason.CONTRADICTION,
            f"its client ranks opened it with {other} and {mine}: all must say the same",
        )

    def refuse_contradiction(self, header: Header) -> Refusal | None:
        """What says something else than the ranks that opened it."""
        if header.purpose == self.purpose and header.num_client_ranks == self.num_client_ranks:
            return None
        return refusal_of(
            header,
            Reason.CONTRADICTION,
            f"it was opened for {self.purpose.name} by {self.num_client_ranks} client ranks, now it is for "
            f"{header.purpose.name} by {header.num_client_ranks}: all ranks of a simulation must say the same",
        )

    def refuse_another_step(self, header: Header, most: int) -> Refusal | None:
        """What would begin one more time step than an attempt can have under way."""
        if header.step in self.partials or len(self.partials) < most:
            return None
        return refusal_of(
            header,
            Reason.TOO_MANY_STEPS,
            f"step {header.step} came while {len(self.partials)} time steps were incomplete, as many as the simulation "
            "has: all its ranks must send the same steps, solver.num_steps of them",
        )

    def refuse_old(self, header: Header) -> Refusal | None:
        """What comes of an attempt before the newest."""
        if header.attempt >= self.attempt:
            return None
        return refusal_of(header, Reason.OLD_ATTEMPT, f"attempt {self.attempt} has taken its place")

    def refuse_completed(self, header: Header) -> Refusal | None:
        """What comes of a step that is complete, or is not needed."""
        if header.step not in self.completed:
            return None
        if header.step in self.not_needed:
            detail = f"all windows that hold step {header.step} were given up, or are there already"
            return refusal_of(header, Reason.NOT_NEEDED, detail)
        return refusal_of(header, Reason.DUPLICATE_SAMPLE, f"step {header.step} is complete already")
