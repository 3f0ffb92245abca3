"""`Assembler`: places parts, completes samples, refuses what does not belong."""

from collections.abc import Collection, Mapping

import msgspec
import numpy as np

from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.delivered import DeliveredSamples, OverSimulations
from melissa_like.assembly.inspection import Inspection
from melissa_like.assembly.partial import NOTHING, BoxPlace, PartialSample, Placement
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.assembly.simulations import OpenSimulation
from melissa_like.assembly.tally import WindowTally
from melissa_like.protocol.wire import FIXED_NBYTES, Header, Kind, encode, split_moment
from melissa_like.records import FloatArray, Layout, Purpose, Ranges, Routing, Sample, SampleKey, StudyIdentity, Window

__all__ = ["Assembler"]

#: Parts that were accepted once; more than that are forgotten together.
_REMEMBERED_PARTS = 10_000
#: Incomplete time steps of a solver that does not tell how many it makes.
_MOST_PARTIALS = 2**20


class _AcceptedPart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A part that was accepted at some step: at another one only what changes must be looked at.

    It is remembered as long as its attempt is the newest, and its simulation not over.
    """

    simulation: OpenSimulation
    place: BoxPlace


class Assembler:
    """Parts in, complete samples out, each exactly once unless it was retracted, whatever the order of arrival.

    A newer attempt of a simulation discards what is incomplete of the older, and goes on in the same memory; what is
    complete stays, and its parts are refused as duplicates when they come again. Of a simulation that is over no more
    is kept than its number, in one range with its neighbours.

    Where a sample is a window, time steps are handed on all the same, and each says which windows are complete with it.
    A window is complete once; of a newer attempt those steps are taken again that a window needs which is not.

    A part without an element is looked at and belongs to no sample, so nobody waits for it and none is a duplicate.

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
    ) -> None:
        self._layout = layout
        self._sample_size = layout.sample_size
        self._inspection = Inspection(layout, identity, server_rank, num_server_ranks, routing, num_simulations)
        self._most_partials = _MOST_PARTIALS if num_steps is None else num_steps
        self._server_rank = server_rank
        self._num_server_ranks = num_server_ranks
        assert window is None or num_server_ranks == 1 or routing is Routing.TRAJECTORY, "windows would be torn apart"
        self._step_stride = num_server_ranks if routing is Routing.SAMPLE else 1
        self._sample_stride = self._step_stride if window is None else window.hop
        self._num_steps = num_steps
        self._window = window
        self._mixes = mixes
        self._consumers = consumers
        self._simulations: dict[int, OpenSimulation] = {}
        self._over = OverSimulations(keeps=False) if over is None else over
        self._restored: dict[int, CompletedSteps] = {}  # of simulations that no attempt has opened since
        self._proven: frozenset[int] = frozenset()
        self._accepted: dict[bytes, _AcceptedPart] = {}
        self.duplicates_dropped = 0

    def refuse_open(self, header: Header) -> Refusal | None:
        """What speaks against an announcement before its parameters are looked at, and memory is taken for them."""
        refusal = self._inspection.refuse_stranger(header) or self._refuse_over(header)
        if refusal is not None:
            return refusal
        num_parameters = len(self._layout.parameters)
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
            samples = self._restored.pop(header.simulation, None) or CompletedSteps(self._sample_stride)
            known = self._simulations[header.simulation] = self._begun(header, parameters, samples)
        if header.attempt < known.attempt:
            return known.refuse_old(header)
        if header.attempt > known.attempt:
            self._forget_accepted(known)
            known = self._simulations[header.simulation] = self._begun_again(header, parameters, known)
        elif not np.array_equal(known.parameters, parameters, equal_nan=True):
            return refusal_of(
                header,
                Reason.CONTRADICTION,
                f"its client ranks opened it with the parameters {parameters.tolist()} and "
                f"{known.parameters.tolist()}: all must say the same",
            )
        return known.refuse_contradiction(header)

    def place(self, header: Header) -> Placement | Refusal:
        """Where the payload of a part goes; `add` or `drop` must follow before the next call."""
        refusal = self._inspection.refuse_stranger(header)
        if refusal is not None:
            return refusal
        if header.kind is not Kind.PART:
            return refusal_of(header, Reason.UNDECLARED_FIELD, "it belongs to a mesh, and the study declares none")
        if not header.box.size:
            return self._place_empty(header)
        refusal = self._refuse_over(header)
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
            or simulation.refuse_contradiction(header)
            or simulation.refuse_another_step(header, self._most_partials)
        )
        if refusal is not None:
            return refusal
        place = self._inspection.place(header)
        if isinstance(place, Refusal):
            return place
        partial = self._partial(simulation, header.step, header.time)
        conflict = partial.conflict(place)
        if conflict is not None:
            return self._inspection.refuse_conflict(header, conflict)
        common, step, _ = split_moment(encode(header))
        self._remember(common, simulation, place)
        return _placement(simulation, step, partial, place)

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
        return None if partial.conflict(part.place) is not None else _placement(simulation, step, partial, part.place)

    def add(self, placement: Placement) -> Sample | None:
        """The payload is in place; the sample, if it was the last part."""
        partial, place, step = placement.partial, placement.place, placement.step
        if not place.size or not partial.add(place):
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
            windows=None if simulation.tally is None else simulation.tally.add(step),
        )

    def retract(self, sample: Sample, delivered: Collection[int] = ()) -> None:
        """What `add` returned last was not taken: a newer attempt may send it again.

        Args:
            sample: one time step.
            delivered: of the windows that are complete with it, those that were taken.
        """
        known = self._simulations[sample.key.simulation]
        known.completed.discard(sample.key.step)
        if known.tally is not None and sample.windows is not None:
            known.tally.retract(sample.key.step, sample.windows, delivered)

    def give_up(self, sample: Sample) -> tuple[int, ...]:
        """What `add` returned last must not be learned from: the samples that will not be there, by their first steps.

        They are complete all the same: what else comes of them is not needed, and refused.
        """
        known, step = self._simulations[sample.key.simulation], sample.key.step
        if known.tally is None or sample.windows is None:
            return (step,)
        lost = known.tally.give_up(step, sample.windows)
        others = [other for other in known.tally.not_needed(lost) if other not in known.completed]
        for other in others:
            known.completed.add(other)
            known.not_needed.add(other)
            known.partials.pop(other, None)
        known.tally.spend(others)
        return lost

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
            self._forget_accepted(known)
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
            samples = self._restored[simulation] = CompletedSteps(self._sample_stride)
            for step in some:
                samples.add(step)

    def _place_empty(self, header: Header) -> Placement | Refusal:
        """It is part of no sample, so it may come at any time, also when its step or its simulation is over."""
        refusal = self._inspection.refuse_misrouted(header)
        place = refusal or self._inspection.place(header)
        if isinstance(place, Refusal):
            return place
        return Placement(
            target=NOTHING.memory_of(place),
            simulation=header.simulation,
            attempt=header.attempt,
            step=header.step,
            partial=NOTHING,
            place=place,
        )

    def _begun(self, header: Header, parameters: FloatArray, samples: CompletedSteps) -> OpenSimulation:
        """The first attempt that this rank hears of, as its first OPEN describes it."""
        if self._window is None:
            return self._opened(header, parameters, samples, set(), None)
        tally = WindowTally(self._window, num_steps=self._num_steps, mixes=self._mixes, formed=samples)
        return self._opened(header, parameters, tally.settled_steps(), set(), tally)

    def _begun_again(self, header: Header, parameters: FloatArray, known: OpenSimulation) -> OpenSimulation:
        completed = known.completed if known.tally is None else known.tally.begin_attempt(known.completed)
        return self._opened(header, parameters, completed, known.not_needed, known.tally)

    def _opened(
        self,
        header: Header,
        parameters: FloatArray,
        completed: CompletedSteps,
        not_needed: set[int],
        tally: WindowTally | None,
    ) -> OpenSimulation:
        return OpenSimulation(
            number=header.simulation,
            attempt=header.attempt,
            purpose=header.purpose,
            consumer=self._consumers[header.purpose],
            num_client_ranks=header.num_client_ranks,
            parameters=parameters,
            completed=completed,
            not_needed=not_needed,
            tally=tally,
        )

    def _partial(self, simulation: OpenSimulation, step: int, time: float) -> PartialSample:
        """The sample of a step, begun if this is its first part; its time is the earliest that a rank gives, if any."""
        partial = simulation.partials.get(step)
        if partial is None:
            fields = simulation.consumer.reserve(simulation.number, simulation.attempt, step)
            partial = simulation.partials[step] = PartialSample(fields, self._sample_size, self._proven, time=time)
        elif time < partial.time or partial.time != partial.time:  # NaN: the ranks before gave none
            partial.time = time
        return partial

    def _remember(self, common: bytes, simulation: OpenSimulation, place: BoxPlace) -> None:
        if len(self._accepted) >= _REMEMBERED_PARTS:
            self._accepted.clear()
            for one in self._simulations.values():
                one.accepted.clear()
        self._accepted[common] = _AcceptedPart(simulation=simulation, place=place)
        simulation.accepted.append(common)

    def _forget_accepted(self, simulation: OpenSimulation) -> None:
        for common in simulation.accepted:
            self._accepted.pop(common, None)

    def _refuse_over(self, header: Header) -> Refusal | None:
        if header.simulation not in self._over:
            return None
        return refusal_of(header, Reason.OVER, "the launcher said that it is over: nothing more of it is needed")

    def _refuse_late(self, header: Header, simulation: OpenSimulation) -> Refusal | None:
        refusal = simulation.refuse_completed(header)
        self.duplicates_dropped += refusal is not None and refusal.reason is Reason.DUPLICATE_SAMPLE
        return refusal or simulation.refuse_old(header)


def _placement(simulation: OpenSimulation, step: int, partial: PartialSample, place: BoxPlace) -> Placement:
    return Placement(
        target=partial.memory_of(place),
        simulation=simulation.number,
        attempt=simulation.attempt,
        step=step,
        partial=partial,
        place=place,
    )
