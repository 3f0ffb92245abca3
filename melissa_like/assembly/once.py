"""What one attempt of a simulation sends once: its sizes, index lists and static fields."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from melissa_like.assembly.partial import PartialSample, as_bytes
from melissa_like.assembly.places import IndexList, Place, Places, index_list
from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.protocol.wire import Header, Kind
from melissa_like.records import FieldSpec, Layout, StaticFields, static_fields

__all__ = ["OncePlacement", "SentOnce"]

#: Numbers that the index lists of an attempt may have together, as a multiple of its extents.
_MOST_LISTED = 64


class OncePlacement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where the payload of an index list, or of a part of a static field, goes.

    Attributes:
        target: as that of a `Placement`; what has come before is received beside it, and compared.
        received: what is received beside its place; None: it is received in place.
        place: of a part of a static field; None: it is an index list.
    """

    target: memoryview | npt.NDArray[Any]
    header: Header
    received: npt.NDArray[Any] | None = None
    place: Place | None = None


class SentOnce:
    """Index lists and static fields of one attempt, until its static fields are complete and afterwards.

    What comes again is compared with what came before: the same bytes change nothing.

    Args:
        layout: of the simulation, with its sizes.
        earlier: what another attempt of the simulation has sent; given on again if it is the same.
        repeats: the solver is declared deterministic, so that it must be the same.

    Attributes:
        layout: of the simulation.
        places: of its fields, for as long as this attempt is the newest.
        lists: by client rank, and by the number that the rank has given the list.
        complete: what is sent once, when all of it is there.
    """

    def __init__(self, layout: Layout, *, earlier: StaticFields | None = None, repeats: bool = False) -> None:
        self.layout = layout
        self.places = Places(layout.fields)
        self.lists: dict[tuple[int, int], IndexList] = {}
        self._earlier = earlier
        self.complete: StaticFields | None = None
        self._repeats = repeats
        self._num_listed = 0
        self._static_places = Places(layout.static, "static")
        arrays = tuple(np.empty(spec.shape, spec.numpy_dtype) for spec in layout.static)
        self._partial = PartialSample(arrays, self._static_places.size, frozenset())
        if not layout.static:
            self.complete = self._same_as_earlier(static_fields(layout, {}))

    @property
    def newest(self) -> StaticFields | None:
        """What is complete: of this attempt, or else of an earlier one."""
        return self.complete or self._earlier

    def place(self, header: Header) -> OncePlacement | Refusal:
        """Where it goes; `add` or nothing must follow before the next call."""
        if header.kind is Kind.INDEX:
            return self._place_list(header)
        found = self._static_places
        place = found.of_points(header, self.lists) if header.kind.is_scattered else found.of_box(header)
        if isinstance(place, Refusal):
            return place
        if place.number in self._partial.arrived:
            return self._beside(header, place)
        conflict = self._partial.conflict(place)
        if conflict is not None:
            return found.refuse_conflict(header, conflict)
        target = self._partial.memory_of(place)
        return (
            self._beside(header, place) if target is None else OncePlacement(target=target, header=header, place=place)
        )

    def add(self, placement: OncePlacement) -> Refusal | None:
        """The payload is there; what speaks against it."""
        header, place, received = placement.header, placement.place, placement.received
        if place is None:
            assert received is not None
            return self._add_list(header, received)
        if not place.size:
            return None
        spec = self.layout.static[place.field_id]
        held = self._partial.fields[place.field_id]
        if place.number in self._partial.arrived:
            assert received is not None
            if np.array_equal(_bits(held[place.index]), _bits(received.reshape(held[place.index].shape))):
                return None
            return refusal_of(
                header,
                Reason.OTHER_VALUES,
                f"static field {spec.name!r} was sent again with other values: send it once per simulation, before the "
                "first time step",
            )
        if received is not None:
            self._partial.scatter(place, as_bytes(received))
        refusal = self._refuse_values(header, spec, held[place.index])
        if refusal is None and self._partial.add(place):
            refusal = self._finish(header)
        return refusal

    def _beside(self, header: Header, place: Place) -> OncePlacement:
        received = np.empty(place.size, self._partial.fields[place.field_id].dtype)
        return OncePlacement(target=as_bytes(received), header=header, received=received, place=place)

    def _place_list(self, header: Header) -> OncePlacement | Refusal:
        most = _MOST_LISTED * sum(self.layout.sizes.values())
        if self._num_listed + header.box.size > most:
            return refusal_of(
                header,
                Reason.WRONG_LIST,
                f"with index list {header.field_id} the lists of this simulation would have more than {most} numbers, "
                f"{_MOST_LISTED} times as many as its extents: send a list once, and Part boxes where the partition "
                "changes all the time",
            )
        numbers = np.empty(header.box.size, np.int64)
        return OncePlacement(target=as_bytes(numbers), header=header, received=numbers)

    def _add_list(self, header: Header, numbers: npt.NDArray[Any]) -> Refusal | None:
        key = (header.client_rank, header.field_id)
        known = self.lists.get(key)
        if known is not None:
            if np.array_equal(known.numbers, numbers):
                return None
            return refusal_of(
                header,
                Reason.OTHER_VALUES,
                f"index list {header.field_id} was sent again with other numbers: give other lists other numbers",
            )
        made = index_list(numbers)
        if isinstance(made, int):
            return refusal_of(
                header,
                Reason.WRONG_LIST,
                f"index list {header.field_id} names point {made}, but points are numbered from 0"
                if made < 0
                else f"index list {header.field_id} names point {made} twice: name each once",
            )
        self.lists[key] = made
        self._num_listed += numbers.size
        return None

    def _refuse_values(self, header: Header, spec: FieldSpec, values: npt.NDArray[Any]) -> Refusal | None:
        """Values that are not finite; or that are to be numbers of points, and are none."""
        if spec.indexes is None:
            finite = np.isfinite(values)
            if finite.all():
                return None
            return refusal_of(
                header,
                Reason.NOT_FINITE,
                f"static field {spec.name!r} is {values[~finite][0]} at {np.count_nonzero(~finite)} of the "
                f"{values.size} places that came: send finite values",
            )
        num_points = self.layout.sizes[spec.indexes] if isinstance(spec.indexes, str) else spec.indexes
        lowest, highest = int(values.min()), int(values.max())
        if lowest >= 0 and highest < num_points:
            return None
        return refusal_of(
            header,
            Reason.NO_SUCH_POINT,
            f"static field {spec.name!r} names point {lowest if lowest < 0 else highest}, but this simulation has "
            f"{num_points} points ({spec.indexes}), numbered from 0: send numbers below that",
        )

    def _finish(self, header: Header) -> Refusal | None:
        arrays = {spec.name: array for spec, array in zip(self.layout.static, self._partial.fields, strict=True)}
        made = self._same_as_earlier(static_fields(self.layout, arrays))
        if self._repeats and self._earlier is not None and made is not self._earlier:
            return refusal_of(
                header,
                Reason.CONTRADICTION,
                "another attempt has sent other static fields, but solver.deterministic is true: set it to false",
            )
        self.complete = made
        return None

    def _same_as_earlier(self, made: StaticFields) -> StaticFields:
        """The earlier ones if they are the same, so that both are held once."""
        return self._earlier if self._earlier is not None and self._earlier.digest == made.digest else made


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """To be compared byte by byte."""
    return np.ascontiguousarray(values).view(np.uint8)
