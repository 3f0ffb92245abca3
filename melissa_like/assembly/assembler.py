"""`Assembler`: places parts, completes samples, refuses what does not belong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.assembly.partial import PartialSample, Placement, as_bytes, is_contiguous
from melissa_like.assembly.parts import Completed, Reason, Refusal, Reservation
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.protocol.wire import Header
from melissa_like.records import (
    STORAGE_DTYPES,
    Box,
    FloatArray,
    Layout,
    Purpose,
    Routing,
    SampleKey,
    StudyIdentity,
    owner_of,
)

__all__ = ["Assembler"]


#: Boxes of a decomposition that are known to be sound; more than that are forgotten together.
_REMEMBERED_BOXES = 10_000


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a sound box lies in its field, and whether that is one stretch of memory."""

    slices: tuple[slice, ...]
    contiguous: bool


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


class Assembler:
    """Parts in, complete samples out, each exactly once, whatever the order of arrival.

    A newer attempt of a simulation discards what is incomplete of the older; what is complete stays, and its parts are
    refused as duplicates when they come again. A payload that is one stretch of the sample's memory is placed there
    directly, any other in memory of its own that `add` copies.

    Args:
        layout: of the study.
        identity: what every message must carry.
        server_rank: this one, among `num_server_ranks`.
        routing: which samples it owns.
        reserve: memory for a sample of a purpose; must not block.
        abandon: takes back the memory of a sample that will not be completed.

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
        reserve: Callable[[Purpose], Reservation],
        abandon: Callable[[Purpose, Reservation], None],
    ) -> None:
        self._layout = layout
        self._layout_id = layout.layout_id
        self._dtype_codes = [STORAGE_DTYPES.index(f.numpy_dtype) for f in layout.fields]
        self._identity = identity
        self._server_rank = server_rank
        self._num_server_ranks = num_server_ranks
        self._routing = routing
        self._reserve = reserve
        self._abandon = abandon
        self._simulations: dict[int, _Simulation] = {}
        self._proven: tuple[frozenset[Box], ...] = tuple(frozenset() for _ in layout.fields)
        self._targets: dict[tuple[int, int, Box], _Target] = {}
        self.duplicates_dropped = 0

    def open(self, header: Header, parameters: FloatArray) -> Refusal | None:
        """A client rank announces the attempt that its next parts belong to; all ranks of it say the same."""
        refusal = self._refuse_stranger(header)
        if refusal is not None:
            return refusal
        if len(parameters) != len(self._layout.parameters):
            return _refusal(
                header,
                Reason.WRONG_PARAMETERS,
                f"it was opened with {len(parameters)} parameters but the study has {len(self._layout.parameters)} "
                f"({', '.join(self._layout.parameters)}): send one number for each",
            )
        known = self._simulations.get(header.simulation)
        if known is None:
            stride = self._num_server_ranks if self._routing is Routing.SAMPLE else 1
            known = self._simulations[header.simulation] = _Simulation(
                header.purpose, header.attempt, header.num_client_ranks, parameters, CompletedSteps(stride)
            )
        if header.attempt < known.attempt or known.is_over:
            return _refusal(header, Reason.OLD_ATTEMPT, f"attempt {known.attempt} has taken its place")
        if header.attempt > known.attempt:
            self._discard_partials(known)
            known.attempt, known.num_client_ranks = header.attempt, header.num_client_ranks
            known.purpose, known.parameters = header.purpose, parameters
        elif not np.array_equal(known.parameters, parameters, equal_nan=True):
            return _refusal(
                header,
                Reason.CONTRADICTION,
                f"its client ranks opened it with the parameters {parameters.tolist()} and "
                f"{known.parameters.tolist()}: all must say the same",
            )
        return self._refuse_contradiction(header, known)

    def place(self, header: Header) -> Placement | Refusal:
        """Where the payload of a part goes; `add` or `drop` must follow before the next call."""
        refusal = self._refuse_stranger(header)
        if refusal is not None:
            return refusal
        simulation = self._simulations.get(header.simulation)
        if simulation is None or header.attempt > simulation.attempt:
            return _refusal(
                header,
                Reason.NOT_OPENED,
                f"a part of attempt {header.attempt} came before its parameters: send the OPEN message first on every "
                "connection",
            )
        refusal = (
            self._refuse_late(header, simulation)
            or self._refuse_misrouted(header)
            or self._refuse_contradiction(header, simulation)
        )
        if refusal is not None:
            return refusal
        target = self._targets.get((header.field_id, header.dtype_code, header.box)) or self._examine(header)
        if isinstance(target, Refusal):
            return target
        partial = simulation.partials.get(header.step)
        if partial is None:
            partial = PartialSample(self._reserve(simulation.purpose), self._layout, self._proven, time=header.time)
            simulation.partials[header.step] = partial
        conflict = partial.conflict(header.field_id, header.box)
        if conflict is not None:
            return self._refuse_conflict(header, conflict)
        return _placement(header, partial, target)

    def add(self, placement: Placement) -> Completed | None:
        """The payload is in place; the sample, if it was the last part."""
        header, partial = placement.header, placement.partial
        if placement.scratch is not None:
            partial.reservation.fields[header.field_id][header.box.slices] = placement.scratch
        if not partial.add(header.field_id, header.box):
            return None
        simulation = self._simulations[header.simulation]
        del simulation.partials[header.step]
        simulation.completed.add(header.step)
        if partial.is_new_decomposition:
            self._proven = tuple(frozenset(boxes) for boxes in partial.arrived)
        return Completed(
            key=SampleKey(header.simulation, header.step),
            attempt=header.attempt,
            purpose=simulation.purpose,
            time=partial.time,
            parameters=simulation.parameters,
            reservation=partial.reservation,
        )

    def drop(self, placement: Placement) -> None:
        """The payload did not come as announced: the part counts as not received."""
        simulation = self._simulations[placement.header.simulation]
        if not any(placement.partial.arrived):
            del simulation.partials[placement.header.step]
            self._abandon(simulation.purpose, placement.partial.reservation)

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: give back the memory of what is incomplete."""
        known = self._simulations.get(simulation)
        if known is not None:
            known.is_over = True
            self._discard_partials(known)

    def _discard_partials(self, simulation: _Simulation) -> None:
        for partial in simulation.partials.values():
            self._abandon(simulation.purpose, partial.reservation)
        simulation.partials.clear()

    def _examine(self, header: Header) -> "_Target | Refusal":
        """Look at a box for the first time; a sound one is remembered, because the same boxes come at every step."""
        refusal = self._refuse_misfit(header)
        if refusal is not None:
            return refusal
        if len(self._targets) >= _REMEMBERED_BOXES:
            self._targets.clear()
        shape = self._layout.fields[header.field_id].shape
        target = _Target(header.box.slices, is_contiguous(header.box, shape))
        self._targets[header.field_id, header.dtype_code, header.box] = target
        return target

    def _refuse_stranger(self, header: Header) -> Refusal | None:
        """What does not come from this study, or cannot be meant for it."""
        mine = self._identity
        if header.study != mine.study or header.secret != mine.secret:
            return _refusal(header, Reason.OTHER_STUDY, "it carries another study or secret")
        if (header.launcher_incarnation, header.server_incarnation) != (
            mine.launcher_incarnation,
            mine.server_incarnation,
        ):
            return _refusal(header, Reason.OTHER_INCARNATION, "its launcher or server was restarted since")
        if header.layout_id != self._layout_id:
            return _refusal(
                header,
                Reason.WRONG_LAYOUT,
                f"its layout is {header.layout_id:#010x} but the study has {self._layout_id:#010x}: declare the fields "
                "and parameters of the study's configuration, in its order",
            )
        return None

    def _refuse_contradiction(self, header: Header, simulation: _Simulation) -> Refusal | None:
        if header.purpose == simulation.purpose and header.num_client_ranks == simulation.num_client_ranks:
            return None
        return _refusal(
            header,
            Reason.CONTRADICTION,
            f"it was opened for {simulation.purpose.name} by {simulation.num_client_ranks} client ranks, now it is for "
            f"{header.purpose.name} by {header.num_client_ranks}: all ranks of a simulation must say the same",
        )

    def _refuse_late(self, header: Header, simulation: _Simulation) -> Refusal | None:
        if header.step in simulation.completed:
            self.duplicates_dropped += 1
            return _refusal(header, Reason.DUPLICATE_SAMPLE, f"step {header.step} is complete already")
        if header.attempt < simulation.attempt or simulation.is_over:
            return _refusal(header, Reason.OLD_ATTEMPT, f"attempt {simulation.attempt} has taken its place")
        return None

    def _refuse_misrouted(self, header: Header) -> Refusal | None:
        owner = owner_of(header.simulation, header.step, self._num_server_ranks, self._routing)
        if owner != self._server_rank:
            return _refusal(
                header,
                Reason.WRONG_OWNER,
                f"step {header.step} came to server rank {self._server_rank} but belongs to {owner}: route as "
                "protocol/README.md says",
            )
        return None

    def _refuse_misfit(self, header: Header) -> Refusal | None:
        """What contradicts the declaration of the fields."""
        if header.field_id >= len(self._layout.fields):
            return _refusal(
                header,
                Reason.UNDECLARED_FIELD,
                f"field number {header.field_id} was sent but {len(self._layout.fields)} are declared: declare it "
                "under solver.fields",
            )
        spec = self._layout.fields[header.field_id]
        if header.dtype_code != self._dtype_codes[header.field_id]:
            return _refusal(
                header,
                Reason.WRONG_DTYPE,
                f"field {spec.name!r} was sent as {STORAGE_DTYPES[header.dtype_code]} but is declared as {spec.dtype}: "
                f"send {spec.dtype}, or declare what you send under solver.fields.{spec.name}.dtype",
            )
        if not header.box.fits(spec.shape):
            return _refusal(
                header,
                Reason.OUTSIDE,
                f"a box of field {spec.name!r} with offset {header.box.offset} and shape {header.box.shape} was sent "
                f"but the global shape is {spec.shape}: send boxes inside it, or declare another shape",
            )
        return None

    def _refuse_conflict(self, header: Header, conflict: Box) -> Refusal:
        name = self._layout.fields[header.field_id].name
        if conflict == header.box:
            return _refusal(
                header,
                Reason.SAME_BOX_TWICE,
                f"the box of field {name!r} with offset {conflict.offset} and shape {conflict.shape} of step "
                f"{header.step} was sent twice: send each box once per step",
            )
        return _refusal(
            header,
            Reason.OVERLAP,
            f"in step {header.step} the box of field {name!r} with offset {header.box.offset} and shape "
            f"{header.box.shape} overlaps the one with offset {conflict.offset} and shape {conflict.shape}: send each "
            "element once per step",
        )


def _placement(header: Header, partial: PartialSample, target: _Target) -> Placement:
    whole = partial.reservation.fields[header.field_id]
    if target.contiguous:
        view: npt.NDArray[Any] = whole[target.slices]
        return Placement(target=as_bytes(view), header=header, partial=partial, scratch=None)
    scratch = np.empty(header.box.shape, whole.dtype)
    return Placement(target=as_bytes(scratch), header=header, partial=partial, scratch=scratch)


def _refusal(header: Header, reason: Reason, detail: str) -> Refusal:
    return Refusal(
        reason=reason,
        message=f"client rank {header.client_rank} of simulation {header.simulation}: {detail}",
        simulation=header.simulation,
        attempt=header.attempt,
        client_rank=header.client_rank,
    )
