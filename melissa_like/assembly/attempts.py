"""`Attempts`: makes what is kept of a simulation when a new attempt opens it."""

from collections.abc import Mapping, MutableMapping

from melissa_like.assembly.consumers import Consumer
from melissa_like.assembly.once import SentOnce
from melissa_like.assembly.opening import Opening, refuse_sizes
from melissa_like.assembly.places import Places
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.assembly.simulations import OpenSimulation
from melissa_like.assembly.tally import WindowTally
from melissa_like.protocol.wire import Header
from melissa_like.records import Layout, Purpose, Window

__all__ = ["Attempts"]


class Attempts:
    """Opens simulations, each attempt from what is known of those before.

    Args:
        layout: of the study.
        consumers: in whose memory the samples of a purpose are assembled; they are told the sizes of a simulation.
        sample_stride: distance of the (first) steps of samples.
        num_steps: time steps of a simulation; None: not known.
        window: what a sample is; None: one time step.
        mixes: the solver is deterministic: a window may be of several attempts.
        most_nbytes: that a sample of a simulation and what it sends once may take together; None: any.

    Attributes:
        places: of the fields of all simulations; None: each has its own sizes, or sends something once.
    """

    def __init__(
        self,
        layout: Layout,
        consumers: Mapping[Purpose, Consumer],
        *,
        sample_stride: int,
        num_steps: int | None,
        window: Window | None,
        mixes: bool,
        most_nbytes: int | None,
    ) -> None:
        self.places = None if layout.is_ragged else Places(layout.fields)
        self.sample_stride = sample_stride
        self._layout = layout
        self._consumers = consumers
        self._num_steps = num_steps
        self._window = window
        self._mixes = mixes
        self._most_nbytes = most_nbytes

    def refuse_purpose(self, header: Header) -> Refusal | None:
        """An OPEN for something that nobody takes samples for."""
        if header.purpose in self._consumers:
            return None
        taken = ", ".join(purpose.name for purpose in self._consumers)
        return refusal_of(
            header,
            Reason.NOT_WANTED,
            f"it was opened for {header.purpose.name} but samples are taken for {taken}: open it for the purpose that "
            "Assignment gave",
        )

    def begin(
        self,
        header: Header,
        opening: Opening,
        known: OpenSimulation | None,
        restored: MutableMapping[int, CompletedSteps],
    ) -> OpenSimulation | Refusal:
        """A simulation as the first OPEN of a new attempt describes it.

        Args:
            header: of the OPEN, which is for a purpose that is taken.
            opening: what it says.
            known: the simulation as an older attempt left it; None: this rank hears of it for the first time.
            restored: samples that are there since a restart, by simulation; what is opened is taken from it.
        """
        once = self._once_of(header, opening, known)
        if isinstance(once, Refusal):
            return once
        if known is None:
            samples = restored.pop(header.simulation, None) or CompletedSteps(self.sample_stride)
            completed, not_needed, tally = self._progress(samples)
        else:
            not_needed, tally = known.not_needed, known.tally
            completed = known.completed if tally is None else tally.begin_attempt(known.completed)
        places = self.places if once is None else once.places
        assert places is not None
        begun = OpenSimulation(
            number=header.simulation,
            attempt=header.attempt,
            purpose=header.purpose,
            consumer=self._consumers[header.purpose],
            num_client_ranks=header.num_client_ranks,
            opening=opening,
            places=places,
            completed=completed,
            not_needed=not_needed,
            tally=tally,
            once=once,
        )
        if once is not None:
            begun.consumer.begin(begun.number, begun.attempt, once.layout)
        return begun

    def _progress(self, samples: CompletedSteps) -> tuple[CompletedSteps, set[int], WindowTally | None]:
        """Which steps need not come, at first."""
        if self._window is None:
            return samples, set(), None
        tally = WindowTally(self._window, num_steps=self._num_steps, mixes=self._mixes, formed=samples)
        return tally.settled_steps(), set(), tally

    def _once_of(self, header: Header, opening: Opening, known: OpenSimulation | None) -> SentOnce | Refusal | None:
        """What is sent once in a new attempt; None where nothing is."""
        if self.places is not None:
            return None
        layout = self._layout.sized(opening.extents)
        refusal = refuse_sizes(header, layout, self._most_nbytes, self._window)
        if refusal is not None:
            return refusal
        if self._mixes and known is not None and known.opening.extents != opening.extents:
            return refusal_of(
                header,
                Reason.CONTRADICTION,
                f"another attempt had the extents {known.opening.extents}, this one has {opening.extents}, but "
                "solver.deterministic is true: set it to false",
            )
        earlier = None if known is None or known.once is None else known.once.newest
        return SentOnce(layout, earlier=earlier, repeats=self._mixes)
