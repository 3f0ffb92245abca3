"""What a header alone tells: whether it belongs to this study and rank, and whether its box fits the declaration."""

from melissa_like.assembly.partial import BoxPlace, place_of
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.protocol.wire import Header
from melissa_like.records import STORAGE_DTYPES, Box, Layout, Routing, StudyIdentity, owner_of

__all__ = ["Inspection"]

#: Labels of a sample are signed; a step of -1 that a client sends as unsigned is far beyond.
_LAST_STEP = 2**63 - 1
_LAST_SIMULATION = 2**32 - 1
#: Places of a decomposition that are known to be sound; more than that are forgotten together.
_REMEMBERED_PLACES = 10_000


class Inspection:
    """Looks at headers; knows the study and this server rank, and nothing of what has arrived.

    Args:
        layout: of the study.
        identity: what every message must carry.
        server_rank: this one, among `num_server_ranks`.
        routing: which samples it owns.
        num_simulations: of the study, held-out ones too; None: not known.
    """

    def __init__(
        self,
        layout: Layout,
        identity: StudyIdentity,
        server_rank: int,
        num_server_ranks: int,
        routing: Routing,
        num_simulations: int | None = None,
    ) -> None:
        self._layout = layout
        self._layout_id = layout.layout_id
        self._dtype_codes = [STORAGE_DTYPES.index(field.numpy_dtype) for field in layout.fields]
        self._identity = identity
        self._server_rank = server_rank
        self._num_server_ranks = num_server_ranks
        self._routing = routing
        self._num_simulations = _LAST_SIMULATION + 1 if num_simulations is None else num_simulations
        self._places: dict[tuple[int, int, Box], BoxPlace] = {}
        self._num_places = 0

    def owns(self, simulation: int, step: int) -> bool:
        """Whether a sample can be, and belongs to this server rank."""
        owner = owner_of(simulation, step, self._num_server_ranks, self._routing)
        return owner == self._server_rank and step <= _LAST_STEP

    def place(self, header: Header) -> BoxPlace | Refusal:
        """Where the box of a part lies; a sound one is examined once."""
        key = (header.field_id, header.dtype_code, header.box)
        known = self._places.get(key)
        if known is not None:
            return known
        refusal = self._refuse_misfit(header)
        if refusal is not None:
            return refusal
        if len(self._places) >= _REMEMBERED_PLACES:
            self._places.clear()
        self._num_places += 1
        place = self._places[key] = place_of(self._num_places, header.field_id, header.box, self._layout)
        return place

    def refuse_stranger(self, header: Header) -> Refusal | None:
        """What does not come from this study, or cannot be meant for it."""
        mine = self._identity
        if not mine.is_shown_by(header.study, header.secret):
            return refusal_of(header, Reason.OTHER_STUDY, "it carries another study or secret")
        if (header.launcher_incarnation, header.server_incarnation) != (
            mine.launcher_incarnation,
            mine.server_incarnation,
        ):
            return refusal_of(header, Reason.OTHER_INCARNATION, "its launcher or server was restarted since")
        if header.layout_id != self._layout_id:
            return refusal_of(
                header,
                Reason.WRONG_LAYOUT,
                f"its layout is {header.layout_id:#010x} but the study has {self._layout_id:#010x}: declare the fields "
                "and parameters of the study's configuration, in its order",
            )
        if header.attempt < 1:
            return refusal_of(
                header,
                Reason.NO_ATTEMPT,
                f"it names attempt {header.attempt} but attempts are numbered from 1: send the one Assignment gave",
            )
        if header.simulation >= self._num_simulations:
            return refusal_of(
                header,
                Reason.NO_SIMULATION,
                f"the study has {self._num_simulations} simulations, numbered from 0: send the one Assignment gave",
            )
        return None

    def refuse_misrouted(self, header: Header) -> Refusal | None:
        """What another server rank owns, or none can."""
        if header.step > _LAST_STEP:
            return refusal_of(
                header,
                Reason.NO_STEP,
                f"it is of step {header.step}, the last one possible is {_LAST_STEP}: number the steps from 0",
            )
        owner = owner_of(header.simulation, header.step, self._num_server_ranks, self._routing)
        if owner != self._server_rank:
            return refusal_of(
                header,
                Reason.WRONG_OWNER,
                f"step {header.step} came to server rank {self._server_rank} but belongs to {owner}: route as "
                "protocol/README.md says",
            )
        return None

    def refuse_conflict(self, header: Header, conflict: Box) -> Refusal:
        """What shares an element with a box that has arrived."""
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

    def _refuse_misfit(self, header: Header) -> Refusal | None:
        """What contradicts the declaration of the fields."""
        if header.field_id >= len(self._layout.fields):
            return refusal_of(
                header,
                Reason.UNDECLARED_FIELD,
                f"field number {header.field_id} was sent but {len(self._layout.fields)} are declared: declare it "
                "under solver.fields",
            )
        spec = self._layout.fields[header.field_id]
        if header.dtype_code != self._dtype_codes[header.field_id]:
            return refusal_of(
                header,
                Reason.WRONG_DTYPE,
                f"field {spec.name!r} was sent as {STORAGE_DTYPES[header.dtype_code]} but is declared as {spec.dtype}: "
                f"send {spec.dtype}, or declare what you send under solver.fields.{spec.name}.dtype",
            )
        if not header.box.fits(spec.shape):
            return refusal_of(
                header,
                Reason.OUTSIDE,
                f"a box of field {spec.name!r} with offset {header.box.offset} and shape {header.box.shape} was sent "
                f"but the global shape is {spec.shape}: send boxes inside it, or declare another shape",
            )
        return None
