"""`Assembler`: places parts, completes samples, refuses what does not belong."""

from collections.abc import Collection, Mapping

from melissa_like.assembly.accepted import AcceptedParts
from melissa_like.assembly.attempts import Attempts
from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.delivered import DeliveredSamples, OverSimulations
from melissa_like.assembly.inspection import Inspection
from melissa_like.assembly.once import OncePlacement
from melissa_like.assembly.opening import read_opening, refuse_opening
from melissa_like.assembly.partial import NOTHING, PartialSample, Placement
from melissa_like.assembly.places import Place
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.assembly.simulations import OpenSimulation
from melissa_like.protocol.wire import FIXED_NBYTES, Header, encode, split_moment
from melissa_like.records import (
    Box,
    FloatArray,
    Layout,
    Purpose,
    Ranges,
    Routing,
    Sample,
    SampleKey,
    StudyIdentity,
    Window,
)

__all__ = ["Assembler"]

#: Incomplete time steps of a solver that does not tell how many it makes.
_MOST_PARTIALS = 2**20


class Assembler:
    """Parts in, complete samples out, each exactly once unless it was retracted, whatever the order of arrival.

    A newer attempt of a simulation discards what is incomplete of the older, and goes on in the same memory; what is
    complete stays, and its parts are refused as duplicates when they come again. Of a simulation that is over no more
    is kept than its number, in one range with its neighbours.

    Where a sample is a window, time steps are handed on all the same, and each says which windows are complete with it.
    A window is complete once; of a newer attempt those steps are taken again that a window needs which is not.

    A part without an element is looked at and belongs to no sample, so nobody waits for it and none is a duplicate.

    Where simulations have their own sizes, each is opened with them; where they send something once, `place_once` and
    `add_once` take it, and until it is complete their time steps wait for it (`next_waiting`).

    Args:
        layout: of the study.
        identity: what every message must carry.
        server_rank: this one, among `num_server_ranks`.
        routing: which samples it owns.
        consumers: in whose memory the samples of a purpose are assembled; they are asked to reserve and told to forget,
            handing over what is complete is the caller's.
        over: simulations that are over, none so far; None: of what is complete of them nothing is kept for a `cut`.
        num_simulations: of the study, held-out ones too; None: not known. No more are ever opened.
        num_steps: time steps of a simulation; None: not known. No more of an attempt are ever incomplete.
        window: what a sample is; None: one time step.
        mixes: the solver is deterministic: a window may be of several attempts.
        most_nbytes: that a sample of a simulation and what it sends once may take together; None: any.

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
        over: OverSimulations | None = None,
        num_simulations: int | None = None,
        num_steps: int | None = None,
        window: Window | None = None,
        mixes: bool = False,
        most_nbytes: int | None = None,
    ) -> None:
        self._layout = layout
        self._scratch = bytearray()
        self._inspection = Inspection(layout, identity, server_rank, num_server_ranks, routing, num_simulations)
        self._most_partials = _MOST_PARTIALS if num_steps is None else num_steps
        self._server_rank = server_rank
        self._num_server_ranks = num_server_ranks
        assert window is None or num_server_ranks == 1 or routing is Routing.TRAJECTORY, "windows would be torn apart"
        self._step_stride = num_server_ranks if routing is Routing.SAMPLE else 1
        self._window = window
        self._attempts = Attempts(
            layout,
            consumers,
            sample_stride=self._step_stride if window is None else window.hop,
            num_steps=num_steps,
            window=window,
            mixes=mixes,
            most_nbytes=most_nbytes,
        )
        self._consumers = consumers
        self._simulations: dict[int, OpenSimulation] = {}
        self._over = OverSimulations(keeps=False) if over is None else over
        self._restored: dict[int, CompletedSteps] = {}  # of simulations that no attempt has opened since
        self._accepted = AcceptedParts()
        self.duplicates_dropped = 0

    def refuse_open(self, header: Header) -> Refusal | None:
        """What speaks against an announcement before its parameters are looked at, and memory is taken for them."""
        return (
            self._inspection.refuse_stranger(header)
            or self._refuse_over(header)
            or refuse_opening(header, self._layout)
            or self._attempts.refuse_purpose(header)
        )

    def open(self, header: Header, numbers: FloatArray) -> Refusal | None:
        """A client rank announces the attempt that its next parts belong to; all ranks of it say the same.

        Args:
            header: of the OPEN.
            numbers: its payload, float64: the parameters, and the extents.
        """
        refusal = self.refuse_open(header)
        if refusal is not None:
            return refusal
        opening = read_opening(header, numbers, self._layout)
        if isinstance(opening, Refusal):
            return opening
        known = self._simulations.get(header.simulation)
        if known is not None and header.attempt < known.attempt:
            return known.refuse_old(header)
        if known is None or header.attempt > known.attempt:
            begun = self._attempts.begin(header, opening, known, self._restored)
            if isinstance(begun, Refusal):
                return begun
            if known is not None:
                self._accepted.forget(known)
            known = self._simulations[header.simulation] = begun
        return known.refuse_other_opening(header, opening) or known.refuse_contradiction(header)

    def place(self, header: Header) -> Placement | Refusal:
        """Where the payload of a part goes; `add` or `drop` must follow before the next call."""
        refusal = self._inspection.refuse_stranger(header)
        if refusal is not None:
            return refusal
        if not header.box.size:
            return self._place_empty(header)
        simulation = self._opened(header)
        if isinstance(simulation, Refusal):
            return simulation
        refusal = (
            self._refuse_late(header, simulation)
            or self._inspection.refuse_misrouted(header)
            or simulation.refuse_contradiction(header)
            or simulation.refuse_another_step(header, self._most_partials)
        )
        if refusal is not None:
            return refusal
        place = simulation.place_of(header)
        if isinstance(place, Refusal):
            return place
        partial = self._partial(simulation, header.step, header.time)
        conflict = partial.conflict(place)
        if conflict is not None:
            return simulation.places.refuse_conflict(header, conflict)
        common, step, _ = split_moment(encode(header))
        self._accepted.add(common, simulation, place)
        return self._placement(simulation, step, partial, place)

    def place_again(self, encoded: bytes) -> Placement | None:
        """The same as `place` for a part that was accepted at another step; None if it must be looked at closely.

        Nearly every part of a study is one of these, and what they cost here bounds how fast small parts are received.
        It carries the secret, being the same. The look-up compares hashes of all bytes, and the bytes themselves only
        where the hashes are equal: so its time tells nothing of the secret to who guesses it.
        """
        if len(encoded) < FIXED_NBYTES:
            return None
        common, step, time = split_moment(encoded)
        part = self._accepted.get(common)
        if part is None:
            return None
        simulation = part.simulation
        if step in simulation.completed or not self._inspection.owns(simulation.number, step):
            return None
        if len(simulation.partials) >= self._most_partials:
            return None
        partial = self._partial(simulation, step, time)
        return (
            None if partial.conflict(part.place) is not None else self._placement(simulation, step, partial, part.place)
        )

    def add(self, placement: Placement) -> Sample | None:
        """The payload is in place; the sample, if it was the last part, and all is there that is sent once."""
        partial, place, step = placement.partial, placement.place, placement.step
        if not place.size:
            return None
        if place.box is None:
            partial.scatter(place, self._scratch)
        if not partial.add(place):
            return None
        simulation = self._simulations[placement.simulation]
        if partial.is_new_decomposition:
            simulation.places.proven = frozenset(partial.arrived)
        if simulation.lacks_static:
            simulation.waiting.append(step)
            return None
        return simulation.complete(step)

    def place_once(self, header: Header) -> OncePlacement | Refusal:
        """Where the payload of what is sent once goes; `add_once` may follow, before the next call."""
        refusal = self._inspection.refuse_stranger(header)
        if refusal is not None:
            return refusal
        simulation = self._opened(header)
        if isinstance(simulation, Refusal):
            return simulation
        refusal = simulation.refuse_old(header) or simulation.refuse_contradiction(header)
        if refusal is not None:
            return refusal
        if simulation.once is None:
            return refusal_of(
                header,
                Reason.UNDECLARED_FIELD,
                "it sends static fields or index lists, but neither is declared: declare them under solver.static",
            )
        return simulation.once.place(header)

    def add_once(self, placement: OncePlacement) -> Refusal | None:
        """The payload of what is sent once is there; what speaks against it. `next_waiting` must follow."""
        once = self._simulations[placement.header.simulation].once
        assert once is not None
        return once.add(placement)

    def next_waiting(self, simulation: int) -> Sample | None:
        """A time step that has waited for what is sent once, as `add` returns one; ask again until there is none."""
        known = self._simulations.get(simulation)
        return None if known is None else known.complete_waiting()

    def retract(self, sample: Sample, delivered: Collection[int] = ()) -> None:
        """What `add` returned last was not taken: a newer attempt may send it again.

        Args:
            sample: one time step.
            delivered: of the windows that are complete with it, those that were taken.
        """
        self._simulations[sample.key.simulation].retract(sample, delivered)

    def give_up(self, sample: Sample) -> tuple[int, ...]:
        """What `add` returned last must not be learned from: the samples that will not be there, by their first steps.

        They are complete all the same: what else comes of them is not needed, and refused.
        """
        return self._simulations[sample.key.simulation].give_up(sample)

    def take_back(self, key: SampleKey) -> None:
        """A sample that was complete, and of which nobody has told that it is delivered, counts as not there."""
        known = self._simulations.get(key.simulation)
        if known is not None:
            known.samples.discard(key.step)

    def drop(self, placement: Placement) -> None:
        """The payload did not come as announced: the part counts as not received."""
        if placement.place.size and not placement.partial.arrived:
            del self._simulations[placement.simulation].partials[placement.step]

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: what of it arrives late is refused, and its consumers are told."""
        known, samples = self._simulations.pop(simulation, None), self._restored.pop(simulation, None)
        if known is not None:
            samples = known.samples
            self._accepted.forget(known)
        self._over.add(simulation, samples)
        for consumer in self._consumers.values():
            consumer.forget(simulation)

    def cut(self, lacking: Mapping[int, Collection[int]]) -> DeliveredSamples:
        """Which samples are there now, for a checkpoint.

        Args:
            lacking: the (first) steps of samples that count as not delivered although they are complete, by simulation.
        """
        begun = {number: known.samples for number, known in self._simulations.items()}
        return self._over.cut(
            self._restored | begun,
            lacking,
            stride=self._step_stride,
            offset=self._server_rank,
            hop=1 if self._window is None else self._window.hop,
            alone=self._num_server_ranks == 1,
        )

    def restore(self, over: Ranges, steps: Mapping[int, Ranges]) -> None:
        """Go on from a checkpoint, before anything has come.

        Args:
            over: simulations of which nothing more is needed.
            steps: the (first) steps of the samples that are there of the others, by simulation, as far as this rank
                owns them.
        """
        assert not self._simulations, "something has come before"
        self._over.restore(over)
        for simulation, some in steps.items():
            samples = self._restored[simulation] = CompletedSteps(self._attempts.sample_stride)
            for step in some:
                samples.add(step)

    def _place_empty(self, header: Header) -> Placement | Refusal:
        """It is part of no sample, so it may come at any time, also when its step or its simulation is over."""
        refusal = self._inspection.refuse_misrouted(header)
        if refusal is not None:
            return refusal
        place = _NOWHERE if self._attempts.places is None else self._attempts.places.of_box(header)
        if isinstance(place, Refusal):
            return place
        return Placement(
            target=memoryview(bytearray()),
            simulation=header.simulation,
            attempt=header.attempt,
            step=header.step,
            partial=NOTHING,
            place=place,
        )

    def _opened(self, header: Header) -> OpenSimulation | Refusal:
        """The simulation of a message that is about an attempt; perhaps about an older one than is open."""
        refusal = self._refuse_over(header)
        if refusal is not None:
            return refusal
        simulation = self._simulations.get(header.simulation)
        if simulation is not None and header.attempt <= simulation.attempt:
            return simulation
        return refusal_of(
            header,
            Reason.NOT_OPENED,
            f"a part of attempt {header.attempt} came before its parameters: send the OPEN message first on every "
            "connection",
        )

    def _partial(self, simulation: OpenSimulation, step: int, time: float) -> PartialSample:
        """The sample of a step, begun if this is its first part; its time is the earliest that a rank gives, if any."""
        partial = simulation.partials.get(step)
        if partial is None:
            fields = simulation.consumer.reserve(simulation.number, simulation.attempt, step)
            places = simulation.places
            partial = simulation.partials[step] = PartialSample(fields, places.size, places.proven, time=time)
        elif time < partial.time or partial.time != partial.time:  # NaN: the ranks before gave none
            partial.time = time
        return partial

    def _placement(self, simulation: OpenSimulation, step: int, partial: PartialSample, place: Place) -> Placement:
        target = partial.memory_of(place)
        return Placement(
            target=self._beside(partial, place) if target is None else target,
            simulation=simulation.number,
            attempt=simulation.attempt,
            step=step,
            partial=partial,
            place=place,
        )

    def _beside(self, partial: PartialSample, place: Place) -> memoryview:
        """Memory for points that are not one after another in their field: always the same."""
        nbytes = place.size * partial.fields[place.field_id].itemsize
        if len(self._scratch) < nbytes:
            self._scratch = bytearray(nbytes)
        return memoryview(self._scratch)[:nbytes]

    def _refuse_over(self, header: Header) -> Refusal | None:
        if header.simulation not in self._over:
            return None
        return refusal_of(header, Reason.OVER, "the launcher said that it is over: nothing more of it is needed")

    def _refuse_late(self, header: Header, simulation: OpenSimulation) -> Refusal | None:
        refusal = simulation.refuse_completed(header)
        self.duplicates_dropped += refusal is not None and refusal.reason is Reason.DUPLICATE_SAMPLE
        return refusal or simulation.refuse_old(header)


#: Of a part without an element, where its simulation need not be known.
_NOWHERE = Place(number=0, field_id=0, box=Box((), ()), size=0, index=())
