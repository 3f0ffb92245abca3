"""A simulation that is not over, as its client ranks opened it."""

from dataclasses import dataclass, field

from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.partial import PartialSample
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.assembly.tally import WindowTally
from melissa_like.protocol.wire import Header
from melissa_like.records import FloatArray, Purpose

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
    """

    number: int
    attempt: int
    purpose: Purpose
    consumer: Consumer
    num_client_ranks: int
    parameters: FloatArray
    completed: CompletedSteps
    not_needed: set[int]
    partials: dict[int, PartialSample] = field(default_factory=dict)
    accepted: list[bytes] = field(default_factory=list)
    tally: WindowTally | None = None

    @property
    def samples(self) -> CompletedSteps:
        """The samples of all attempts that are complete, by their (first) steps."""
        return self.completed if self.tally is None else self.tally.formed

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
