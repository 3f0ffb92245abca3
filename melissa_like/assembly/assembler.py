"""`Assembler`: places parts, completes samples, refuses what does not belong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.inspection import Inspection, refusal_of
from melissa_like.assembly.partial import BoxPlace, PartialSample, Placement
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal
from melissa_like.protocol.wire import FIXED_NBYTES, Header, encode, split_moment
from melissa_like.records import Box, FloatArray, Layout, Purpose, Routing, Sample, SampleKey, StudyIdentity

__all__ = ["Assembler"]

#: Parts that were accepted once; more than that are forgotten together.
_REMEMBERED_PARTS = 10_000


@dataclass(slots=True)
class _Simulation:
    """What is known of a simulation: how its newest attempt was opened, and what is complete of all attempts."""

    purpose: Purpose
    attempt: int
    num_client_ranks: int
    parameters: FloatArray
    completed: CompletedSteps
    partials: dict[int, PartialSample] = field(default_factory=dict)
    is_over: bool = False


class _AcceptedPart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A part that was accepted at some step: at another one only what changes must be looked at."""

    number: int
    simulation: _Simulation
    attempt: int
    place: BoxPlace


class Assembler:
    """Parts in, complete samples out, each exactly once, whatever the order of arrival.

    A newer attempt of a simulation discards what is incomplete of the older, and goes on in the same memory; what is
    complete stays, and its parts are refused as duplicates when they come again.

    Args:
        layout: of the study.
        identity: what every message must carry.
        server_rank: this one, among `num_server_ranks`.
        routing: which samples it owns.
        consumers: in whose memory the samples of a purpose are assembled; they are asked to reserve and told to forget,
            handing over what is complete is the caller's.

    Attributes:
        duplicates_dropped: parts of samples that were complete already.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        identity: StudyIdentity,
        server_rank: int,
        num_server_ranks: int,
        routing: Routing,
        consumers: Mapping[Purpose, Consumer],
    ) -> None:
        self._layout = layout
        self._sample_size = layout.sample_size
        self._inspection = Inspection(layout, identity, server_rank, num_server_ranks, routing)
        self._step_stride = num_server_ranks if routing is Routing.SAMPLE else 1
        self._consumers = consumers
        self._simulations: dict[int, _Simulation] = {}
        self._proven: frozenset[int] = frozenset()
        self._accepted: dict[bytes, _AcceptedPart] = {}
        self.duplicates_dropped = 0

    def refuse_open(self, header: Header) -> Refusal | None:
        """What speaks against an announcement before its parameters are looked at, and memory is taken for them."""
        refusal = self._inspection.refuse_stranger(header)
        num_parameters = len(self._layout.parameters)
        if refusal is not None:
            return refusal
        if header.box.shape != (num_parameters,):
            return refusal_of(
                header,
                Reason.WRONG_PARAMETERS,
                f"it was opened with parameters of shape {header.box.shape} but the study has {num_parameters} "
                f"({', '.join(self._layout.parameters)}): send one number for each",
            )
        if header.purpose not in self._consumers:
            taken = ", ".join(purpose.name for purpose in self._consumers)
            return refusal_of(
                header,
                Reason.NOT_WANTED,
                f"it was opened for {header.purpose.name} but samples are taken for {taken}: open it for the purpose "
                "that Assignment gave",
            )
        return None

    def open(self, header: Header, parameters: FloatArray) -> Refusal | None:
        """A client rank announces the attempt that its next parts belong to; all ranks of it say the same."""
        refusal = self.refuse_open(header)
        if refusal is not None:
            return refusal
        known = self._simulations.get(header.simulation)
        if known is None:
            known = self._simulations[header.simulation] = _Simulation(
                header.purpose, header.attempt, header.num_client_ranks, parameters, CompletedSteps(self._step_stride)
            )
        if header.attempt < known.attempt or known.is_over:
            return refusal_of(header, Reason.OLD_ATTEMPT, f"attempt {known.attempt} has taken its place")
        if header.attempt > known.attempt:
            known.partials.clear()
            known.attempt, known.num_client_ranks = header.attempt, header.num_client_ranks
            known.purpose, known.parameters = header.purpose, parameters
        elif not np.array_equal(known.parameters, parameters, equal_nan=True):
            return refusal_of(
                header,
                Reason.CONTRADICTION,
                f"its client ranks opened it with the parameters {parameters.tolist()} and "
                f"{known.parameters.tolist()}: all must say the same",
            )
        return self._refuse_contradiction(header, known)

    def place(self, header: Header) -> Placement | Refusal:
        """Where the payload of a part goes; `add` or `drop` must follow before the next call."""
        refusal = self._inspection.refuse_stranger(header)
        if refusal is not None:
            return refusal
        simulation = self._simulations.get(header.simulation)
        if simulation is None or header.attempt > simulation.attempt:
            return refusal_of(
                header,
                Reason.NOT_OPENED,
                f"a part of attempt {header.attempt} came before its parameters: send the OPEN message first on every "
                "connection",
            )
        refusal = (
            self._refuse_late(header, simulation)
            or self._inspection.refuse_misrouted(header)
            or self._refuse_contradiction(header, simulation)
        )
        if refusal is not None:
            return refusal
        place = self._inspection.place(header)
        if isinstance(place, Refusal):
            return place
        partial = self._partial(header.simulation, simulation, header.step, header.time)
        conflict = partial.conflict(place)
        if conflict is not None:
            return self._refuse_conflict(header, conflict)
        part = _AcceptedPart(number=header.simulation, simulation=simulation, attempt=header.attempt, place=place)
        if len(self._accepted) >= _REMEMBERED_PARTS:
            self._accepted.clear()
        common, step, _ = split_moment(encode(header))
        self._accepted[common] = part
        return self._placement(part, step, partial)

    def place_again(self, encoded: bytes) -> Placement | None:
        """The same as `place` for a part that was accepted at another step; None if it must be looked at closely.

        Nearly every part of a study is one of these, and what they cost here bounds how fast small parts are received.
        """
        if len(encoded) < FIXED_NBYTES:
            return None
        common, step, time = split_moment(encoded)
        part = self._accepted.get(common)
        if part is None:
            return None
        simulation = part.simulation
        if (
            part.attempt != simulation.attempt
            or simulation.is_over
            or step in simulation.completed
            or not self._inspection.owns(part.number, step)
        ):
            return None
        partial = self._partial(part.number, simulation, step, time)
        return None if partial.conflict(part.place) is not None else self._placement(part, step, partial)

    def add(self, placement: Placement) -> Sample | None:
        """The payload is in place; the sample, if it was the last part."""
        partial, place, step = placement.partial, placement.place, placement.step
        if not partial.add(place):
            return None
        simulation = self._simulations[placement.simulation]
        del simulation.partials[step]
        simulation.completed.add(step)
        if partial.is_new_decomposition:
            self._proven = frozenset(partial.arrived)
        return Sample(
            key=SampleKey(placement.simulation, step),
            attempt=placement.attempt,
            purpose=simulation.purpose,
            time=partial.time,
            parameters=simulation.parameters,
            fields=partial.fields,
        )

    def drop(self, placement: Placement) -> None:
        """The payload did not come as announced: the part counts as not received."""
        if not placement.partial.arrived:
            del self._simulations[placement.simulation].partials[placement.step]

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: give back the memory of what is incomplete."""
        known = self._simulations.get(simulation)
        if known is not None:
            known.is_over = True
            known.partials.clear()
        for consumer in self._consumers.values():
            consumer.forget(simulation)

    def _partial(self, number: int, simulation: _Simulation, step: int, time: float) -> PartialSample:
        """The sample of a step, begun if this is its first part."""
        partial = simulation.partials.get(step)
        if partial is None:
            fields = self._consumers[simulation.purpose].reserve(number, simulation.attempt, step)
            partial = simulation.partials[step] = PartialSample(fields, self._sample_size, self._proven, time=time)
        return partial

    def _placement(self, part: _AcceptedPart, step: int, partial: PartialSample) -> Placement:
        return Placement(
            target=partial.memory_of(part.place),
            simulation=part.number,
            attempt=part.attempt,
            step=step,
            partial=partial,
            place=part.place,
        )

    def _refuse_contradiction(self, header: Header, simulation: _Simulation) -> Refusal | None:
        if header.purpose == simulation.purpose and header.num_client_ranks == simulation.num_client_ranks:
            return None
        return refusal_of(
            header,
            Reason.CONTRADICTION,
            f"it was opened for {simulation.purpose.name} by {simulation.num_client_ranks} client ranks, now it is for "
            f"{header.purpose.name} by {header.num_client_ranks}: all ranks of a simulation must say the same",
        )

    def _refuse_late(self, header: Header, simulation: _Simulation) -> Refusal | None:
        if header.step in simulation.completed:
            self.duplicates_dropped += 1
            return refusal_of(header, Reason.DUPLICATE_SAMPLE, f"step {header.step} is complete already")
        if header.attempt < simulation.attempt or simulation.is_over:
            return refusal_of(header, Reason.OLD_ATTEMPT, f"attempt {simulation.attempt} has taken its place")
        return None

    def _refuse_conflict(self, header: Header, conflict: Box) -> Refusal:
        name = self._layout.fields[header.field_id].name
        if conflict == header.box:
            return refusal_of(
                header,
                Reason.SAME_BOX_TWICE,
                f"the box of field {name!r} with offset {conflict.offset} and shape {conflict.shape} of step "
                f"{header.step} was sent twice: send each box once per step",
            )
        return refusal_of(
            header,
            Reason.OVERLAP,
            f"in step {header.step} the box of field {name!r} with offset {header.box.offset} and shape "
            f"{header.box.shape} overlaps the one with offset {conflict.offset} and shape {conflict.shape}: send each "
            "element once per step",
        )
