"""What a solver declares: its fields, those that do not change with time, and the dtypes that can be stored."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_DIMENSIONS", "STORAGE_DTYPES", "FieldSpec", "StudyWideField"]

#: Storage dtypes of the wire format, by their code there.
STORAGE_DTYPES: tuple[np.dtype[np.generic], ...] = tuple(
    np.dtype(name) for name in ("float32", "float64", "float16", "int32", "int64", "uint8")
)
MAX_DIMENSIONS = 8


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a dtype can store a number, which is finite, but for rounding a float."""
    if dtype.kind == "f":
        return abs(value) <= float(np.finfo(dtype).max)
    held = np.iinfo(dtype)
    return held.min <= value <= held.max and value == int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One field of a solver: global shape of a time step and the dtype it is sent and stored in.

    Attributes:
        shape: (*grid) of a field of one component, (components, *grid) of a field of several. The last number is 0
            where `extent` names it and nobody has told it yet (`sized` does).
        components: numbers per point of the grid: 1 for a temperature, 2 for a velocity in the plane.
        bounds: (low, high) of the values where they are known in advance; the outputs are then normalized with them.
        fill_value: what a client sends for the masked entries of a masked array; None: it refuses them.
        extent: name of the last axis, the only one of the grid, if each simulation says its size. Fields with the same
            extent are on the same points.
        indexes: the values are numbers of points, from 0: of those of the extent with this name, or of so many. None:
            they are no numbers of points.

    Raises:
        ValueError: a shape or a dtype that cannot be stored.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    components: int = 1
    bounds: tuple[float, float] | None = None
    fill_value: float | None = None
    extent: str | None = None
    indexes: str | int | None = None

    def __post_init__(self) -> None:
        fixed = self.shape if self.extent is None else self.shape[:-1]
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS or any(n < 1 for n in fixed) or self.shape[-1] < 0:
            raise ValueError(
                f"field {self.name!r} has shape {self.shape}: give 1 to {MAX_DIMENSIONS} positive numbers of points"
            )
        if self.components < 1:
            raise ValueError(f"field {self.name!r} has {self.components} components: give 1 or more")
        if self.components > 1 and (len(self.shape) < 2 or self.shape[0] != self.components):
            raise ValueError(
                f"field {self.name!r} has {self.components} components but the shape {self.shape}: write the "
                f"components first, then the grid, as in [{self.components}, 64, 64]"
            )
        if self.extent is not None and len(self.grid) != 1:
            raise ValueError(
                f"field {self.name!r} has the shape {self.shown_shape}: an extent is the only axis of the grid, so "
                f"write [{self.extent}], or [2, {self.extent}] with components: 2"
            )
        known = [str(dtype) for dtype in STORAGE_DTYPES]
        if self.dtype not in known:
            raise ValueError(f"field {self.name!r} has dtype {self.dtype!r}: write one of {', '.join(known)}")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"field {self.name!r} has bounds {self.bounds}: the first must be below the second")
        if self.fill_value is not None and not _holds(self.numpy_dtype, self.fill_value):
            raise ValueError(
                f"field {self.name!r} has the fill_value {self.fill_value}: write a finite number that {self.dtype} "
                "can hold, or null"
            )
        if self.indexes is not None and self.numpy_dtype.kind not in "iu":
            raise ValueError(
                f"field {self.name!r} has dtype {self.dtype} and indexes {self.indexes}: numbers of points are whole "
                "numbers, write int32 or int64"
            )

    def sized(self, extents: Mapping[str, int]) -> "FieldSpec":
        """The same field with the size that its extent has here.

        Raises:
            KeyError: its extent is not among these.
        """
        return self if self.extent is None else replace(self, shape=(*self.shape[:-1], extents[self.extent]))

    @property
    def shown_shape(self) -> str:
        """The shape as it is declared: (2, num_points)."""
        axes: list[int | str] = [*self.shape[:-1], self.shape[-1] if self.extent is None else self.extent]
        return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"

    @property
    def grid(self) -> tuple[int, ...]:
        """Points of the grid along each of its axes."""
        return self.shape[self.row_axis :]

    @property
    def row_axis(self) -> int:
        """The first axis of the grid: the one along which ranks that send rows follow one another."""
        return 0 if self.components == 1 else 1

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The storage dtype as numpy's."""
        return np.dtype(self.dtype)

    @property
    def stored_fill(self) -> np.generic | None:
        """The fill value in the storage dtype."""
        return None if self.fill_value is None else self.numpy_dtype.type(self.fill_value)

    @property
    def size(self) -> int:
        """Number of elements of one time step."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one time step as stored."""
        return self.size * self.numpy_dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyWideField:
    """A field that is the same in all simulations, so that none sends it: given in the configuration.

    Two are equal if their values are, byte by byte.

    Attributes:
        spec: without an extent.
        values: in its shape and dtype, read-only.

    Raises:
        ValueError: values of another shape or dtype.
    """

    spec: FieldSpec
    values: npt.NDArray[Any] = field(repr=False, compare=False)
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.values.shape != self.spec.shape or self.values.dtype != self.spec.numpy_dtype:
            raise ValueError(
                f"field {self.spec.name!r} has values of shape {self.values.shape} and dtype {self.values.dtype}, "
                f"expected {self.spec.shape} and {self.spec.dtype}"
            )
        self.values.flags.writeable = False
        object.__setattr__(self, "digest", hashlib.sha256(self.values.tobytes()).digest())
