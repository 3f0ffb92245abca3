"""From what a solver yields to the parts of a step: which box of which field, checked against the declaration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.client.team import Team
from melissa_like.errors import SolverError
from melissa_like.records import Box, FieldSpec, Layout

__all__ = ["LocalPart", "Part", "PartChecker", "fill_from"]


@dataclass(frozen=True, slots=True)
class Part:
    """A rank's box of a field, for decompositions other than blocks of rows in rank order.

    Attributes:
        array: the values, of any strides.
        offset: index of its first element in the global array.
    """

    array: npt.ArrayLike
    offset: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPart:
    """A checked part: position of its field in the layout, its box, its values."""

    field_id: int
    box: Box
    array: npt.NDArray[Any]


class PartChecker:
    """Turns the fields of a step into checked parts; one per simulation and rank.

    A bare array is a block of rows: the ranks' arrays follow one another along axis 0 in rank order. Where they begin
    is settled once, at the first step, by all ranks together; a decomposition that changes gives its offsets by `Part`.
    """

    def __init__(self, layout: Layout, team: Team) -> None:
        self._layout = layout
        self._team = team
        self._first_rows: list[int] | None = None
        self._bare_rows: list[int] = []

    def first_step(self, fields: Mapping[str, Any]) -> None:
        """Settle where each rank's rows begin; every rank calls it at its first step."""
        mine = [_num_rows(fields.get(spec.name)) for spec in self._layout.fields]
        rows = self._team.gather_rows(mine)
        self._bare_rows = mine
        self._first_rows = [int(n) for n in rows[: self._team.rank].sum(axis=0)]
        for spec, total in zip(self._layout.fields, rows.sum(axis=0), strict=True):
            if total > 0 and int(total) != spec.shape[0]:
                raise SolverError(
                    f"field {spec.name!r}: the ranks' arrays have {int(total)} rows together ("
                    f"{', '.join(str(int(n)) for n in rows[:, self._layout.field_id(spec.name)])}) but its declared "
                    f"shape is {spec.shape}: send {spec.shape[0]} rows in all, or give each array's place with "
                    "melissa_like.client.Part(array, offset)"
                )

    @property
    def started(self) -> bool:
        """Whether `first_step` has been called."""
        return self._first_rows is not None

    def check(self, fields: Mapping[str, Any]) -> list[LocalPart]:
        """The parts of one step.

        Raises:
            SolverError: an undeclared field, a wrong dtype or number of dimensions, a box outside the global shape.
        """
        parts = []
        for name, value in fields.items():
            try:
                field_id = self._layout.field_id(name)
            except KeyError:
                declared = ", ".join(repr(field.name) for field in self._layout.fields)
                raise SolverError(
                    f"field {name!r} is not declared: solver.fields declares {declared}; declare it or do not send it"
                ) from None
            parts.append(self._part(field_id, value))
        return parts

    def _part(self, field_id: int, value: Any) -> LocalPart:
        spec = self._layout.fields[field_id]
        array = np.asarray(value.array if isinstance(value, Part) else value)
        _check_dtype(spec, array)
        if array.ndim != len(spec.shape):
            raise SolverError(
                f"field {spec.name!r}: an array of shape {array.shape} was sent, the declared shape {spec.shape} has "
                f"{len(spec.shape)} dimensions: send arrays with as many"
            )
        offset = value.offset if isinstance(value, Part) else self._row_offset(field_id, spec, array)
        box = Box(tuple(int(o) for o in offset), array.shape)
        if not box.fits(spec.shape):
            raise SolverError(
                f"field {spec.name!r}: rank {self._team.rank} sent a box of shape {box.shape} at offset {box.offset}, "
                f"which is not inside the declared shape {spec.shape}: correct the offset, or the shape under "
                "solver.fields"
            )
        return LocalPart(field_id=field_id, box=box, array=array)

    def _row_offset(self, field_id: int, spec: FieldSpec, array: npt.NDArray[Any]) -> tuple[int, ...]:
        assert self._first_rows is not None, "first_step comes first"
        if array.shape[0] != self._bare_rows[field_id]:
            raise SolverError(
                f"field {spec.name!r}: rank {self._team.rank} sent {array.shape[0]} rows, at the first step it sent "
                f"{self._bare_rows[field_id]}: for a decomposition that changes, send "
                "melissa_like.client.Part(array, offset)"
            )
        return (self._first_rows[field_id], *([0] * (array.ndim - 1)))


def _num_rows(value: Any) -> int:
    """Rows of a bare array; 0 for a part with its own offset, or none."""
    if value is None or isinstance(value, Part):
        return 0
    shape = np.shape(value)
    return shape[0] if shape else 0


def _check_dtype(spec: FieldSpec, array: npt.NDArray[Any]) -> None:
    if array.dtype.kind != spec.numpy_dtype.kind:
        raise SolverError(
            f"field {spec.name!r}: an array of dtype {array.dtype} was sent, it is declared {spec.dtype}: convert it, "
            "or declare another dtype under solver.fields (a precision is converted on the way, a kind is not)"
        )


def fill_from(array: npt.NDArray[Any], dtype: np.dtype[np.generic], target: memoryview) -> None:
    """Convert and copy in one pass, whatever the strides of the array."""
    destination = np.frombuffer(target, dtype=dtype, count=math.prod(array.shape)).reshape(array.shape)
    np.copyto(destination, array, casting="same_kind")
