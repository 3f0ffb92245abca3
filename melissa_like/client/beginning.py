"""What a simulation says once, before its first time step: its own sizes, and the fields that do not change.

`Beginning` is what a solver gives; `LocalBeginning` is what one rank makes of it, checked and copied, because each
server rank gets it when the first time step goes there.
"""

import operator
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.client.conversion import LostValueError, fill_from
from melissa_like.client.parts import LocalPart, PartChecker, PartShape, refused_value
from melissa_like.client.points import PointLists, points_per_list
from melissa_like.client.team import Team
from melissa_like.errors import SolverError
from melissa_like.records import FieldSpec, Layout

__all__ = ["Beginning", "LocalBeginning", "unbegun"]

#: Sizes travel as float64.
_LARGEST_EXTENT = 2**53
#: Sums are compared up to multiples of it, so that those of all ranks have room in 64 bits.
_SUMS = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a generator yields first, where the study has extents or static fields; as `Session.begin` takes it.

    Attributes:
        extents: the size of each in this simulation, by name; the same on all ranks.
        static: the static fields by name: blocks of rows in rank order, `Part`s with their offset, or values
            `Scattered` over points.
    """

    extents: Mapping[str, int] = field(default_factory=dict)
    static: Mapping[str, Any] = field(default_factory=dict)


def unbegun(layout: Layout) -> SolverError | None:
    """What is wrong with a time step before the beginning; None where there is nothing to say before."""
    told = [f"extents ({', '.join(layout.extents)})"] if layout.extents else []
    told += [f"static fields ({', '.join(spec.name for spec in layout.static)})"] if layout.static else []
    if not told:
        return None
    return SolverError(
        f"a time step was sent, and the simulation has not begun: the study has {' and '.join(told)}, so call "
        "session.begin(extents={...}, static={...}) on every rank before the first send; a generator yields "
        "melissa_like.client.Beginning(extents={...}, static={...}) first"
    )


class LocalBeginning:
    """The beginning of a simulation on one rank: `check`, then `settle` with what all ranks say, then `take`.

    Args:
        layout: of the study.
        beginning: as the solver gave it.
        team: the ranks, none of which is waited for.

    Attributes:
        layout: of this simulation, with its sizes once they are checked.
        lists: of this rank in this simulation.
        parts: of the static fields, once they are taken; the arrays are this object's own.
        sent: of each static field the elements in these parts, and then the sum of the numbers of their points.
    """

    def __init__(self, layout: Layout, beginning: Beginning, team: Team) -> None:
        self.layout = layout
        self.lists = PointLists(team.rank, points_per_list(layout))
        self.parts: list[LocalPart] = []
        self.sent = [0] * (2 * len(layout.static))
        self._beginning = beginning
        self._team = team
        self._checker = PartChecker(layout.static, team, self.lists, "static")

    def check(self) -> None:
        """What this rank can see alone: the sizes, and whether the static fields are arrays.

        Raises:
            SolverError: extents that are not declared, not given, or no sizes; a static field that is no array.
            Exception: whatever a mapping of the solver's own raises.
        """
        self.layout = self.layout.sized(_sizes_of(self.layout, self._beginning.extents))
        self._checker = PartChecker(self.layout.static, self._team, self.lists, "static")
        self._checker.count_rows(_mapping("static", self._beginning.static))

    @property
    def told(self) -> list[int]:
        """What the other ranks have to know of it: sizes, and rows of each static field."""
        return [*self.layout.sizes.values(), *self._checker.rows]

    def settle(self, told: npt.NDArray[np.int64]) -> None:
        """Compare what all ranks say: [ranks, sizes and rows].

        Raises:
            SolverError: the ranks say different sizes, or have not the rows of a field together; on every rank.
        """
        for name, sizes in zip(self.layout.sizes, told.T, strict=False):
            other = int(np.argmax(sizes != sizes[0]))
            if sizes[other] != sizes[0]:
                raise SolverError(
                    f"the ranks give the extent {name!r} different sizes, rank 0 {sizes[0]} and rank {other} "
                    f"{sizes[other]}: all ranks give the size of the whole mesh"
                )
        self._checker.settle(told[:, len(self.layout.sizes) :])

    def take(self) -> None:
        """Check the static fields, and copy them; the solver may reuse its arrays.

        Raises:
            SolverError: they break the declaration, or hold values that cannot be.
        """
        self.parts = [self._taken(part) for part in self._checker.check(self._beginning.static)]
        for part in self.parts:
            self.sent[part.shape.field_id] += part.shape.size
            self.sent[len(self.layout.static) + part.shape.field_id] += _sum_of_numbers(part.shape) % _SUMS
        self.lists.look_again()

    def first_gap(self, sent: Sequence[int]) -> int | None:
        """The first static field that the ranks have not given once each; None if there is none.

        By the sums also a point that came twice is seen where another one is missing; not every such mistake, but the
        server ranks look at each point.

        Args:
            sent: by all ranks together.
        """
        num = len(self.layout.static)
        for index, (spec, elements, numbers) in enumerate(zip(self.layout.static, sent[:num], sent[num:], strict=True)):
            whole = spec.size // spec.shape[-1] * (spec.shape[-1] * (spec.shape[-1] - 1) // 2)
            if elements != spec.size or (spec.extent is not None and (numbers - whole) % _SUMS):
                return index
        return None

    def _taken(self, part: LocalPart) -> LocalPart:
        shape, spec = part.shape, self.layout.static[part.shape.field_id]
        held = np.empty(shape.box.shape, shape.dtype)
        try:
            fill_from(part.array, shape.dtype, held.data.cast("B"))
        except LostValueError as lost:
            raise refused_value(spec, self._team.rank, shape, lost, "static") from None
        if shape.dtype.kind == "f" and not np.isfinite(held).all():
            index = np.argwhere(~np.isfinite(held))[0].tolist()
            raise SolverError(
                f"static field {spec.name!r}: rank {self._team.rank} sent {held[tuple(index)]} at index "
                f"{shape.index_of(index)} of the field: send finite values"
            )
        if spec.indexes is not None:
            self._refuse_numbers(spec, held)
        return LocalPart(shape=shape, array=held)

    def _refuse_numbers(self, spec: FieldSpec, values: npt.NDArray[Any]) -> None:
        """Values that are to be numbers of points, and are none."""
        num_points = self.layout.sizes[spec.indexes] if isinstance(spec.indexes, str) else spec.indexes
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= (num_points or 0):
            raise SolverError(
                f"static field {spec.name!r}: rank {self._team.rank} names point {lowest if lowest < 0 else highest}, "
                f"but this simulation has {num_points} points ({spec.indexes}), numbered from 0: send numbers below "
                "that"
            )


def _sum_of_numbers(shape: PartShape) -> int:
    """The numbers of the points of a part, each as often as there are components in it."""
    num_points, first = shape.box.shape[-1], shape.box.offset[-1]
    inside = num_points * (2 * first + num_points - 1) // 2 if shape.points is None else int(shape.points.sum())
    return inside * (shape.size // num_points)


def _sizes_of(layout: Layout, given: Any) -> dict[str, int]:
    extents = _mapping("extents", given)
    declared = ", ".join(map(repr, layout.extents)) or "none"
    for name in extents:
        if name not in layout.extents:
            raise SolverError(
                f"the extent {name!r} is not declared: the shapes under solver.fields and solver.static name {declared}"
            )
    return {name: _size(name, extents) for name in layout.extents}


def _size(name: str, extents: Mapping[str, Any]) -> int:
    if name not in extents:
        raise SolverError(
            f"the extent {name!r} was not given: say its size in this simulation, "
            f"begin(extents={{{name!r}: ...}}, ...), before the first time step"
        )
    size = extents[name]
    try:
        number = 0 if isinstance(size, bool | np.bool_) else operator.index(size)
    except TypeError:
        number = 0
    if not 1 <= number <= _LARGEST_EXTENT:
        raise SolverError(f"the extent {name!r} is {reprlib.repr(size)}: give a number of points, 1 or more")
    return number


def _mapping(what: str, given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    raise SolverError(
        f"a simulation began with {what}={reprlib.repr(given)}, a {type(given).__name__}: give a mapping, "
        f"{'{name: size}' if what == 'extents' else '{name: array}'}"
    )
