"""What a solver sends: fields, their shapes and dtypes, and the boxes of its ranks."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_DIMENSIONS", "STORAGE_DTYPES", "Box", "FieldSpec", "FloatArray", "Layout"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class Box:
    """One rank's box of a global array: `offset` and `shape`, one number per dimension."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the box lies inside a global array of this shape."""
        return len(self.offset) == len(self.shape) == len(shape) and all(
            o >= 0 and n >= 0 and o + n <= total for o, n, total in zip(self.offset, self.shape, shape, strict=True)
        )

    def overlaps(self, other: "Box") -> bool:
        """Whether two boxes share an element."""
        return all(
            max(a, b) < min(a + m, b + n)
            for a, m, b, n in zip(self.offset, self.shape, other.offset, other.shape, strict=True)
        )

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index of the box in the global array."""
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.shape, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One field of a solver: global shape of a time step and the dtype it is sent and stored in.

    Attributes:
        shape: (*grid) of a field of one component, (components, *grid) of a field of several.
        components: numbers per point of the grid: 1 for a temperature, 2 for a velocity in the plane.
        bounds: (low, high) of the values where they are known in advance; the outputs are then normalized with them.
        fill_value: what a client sends for the masked entries of a masked array; None: it refuses them.

    Raises:
        ValueError: a shape or a dtype that cannot be stored.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    components: int = 1
    bounds: tuple[float, float] | None = None
    fill_value: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS or any(n < 1 for n in self.shape):
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
class Layout:
    """What every simulation of a study sends: its fields, in order, and the names of its parameters.

    Raises:
        ValueError: no field, or a name used twice.
    """

    fields: tuple[FieldSpec, ...]
    parameters: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not names:
            raise ValueError("the layout has no field: declare at least one under solver.fields")
        if len(set(names)) != len(names):
            raise ValueError(f"a field is declared twice: {names}")

    @property
    def layout_id(self) -> int:
        """32 bits that differ between different layouts; both ends compare them."""
        text = repr([(f.name, f.shape, f.dtype, f.components) for f in self.fields]) + repr(self.parameters)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    @property
    def sample_size(self) -> int:
        """Elements of one sample."""
        return sum(field.size for field in self.fields)

    @property
    def sample_nbytes(self) -> int:
        """Bytes of one sample as stored."""
        return sum(field.nbytes for field in self.fields)

    def field_id(self, name: str) -> int:
        """Position of a field.

        Raises:
            KeyError: no such field.
        """
        for index, field in enumerate(self.fields):
            if field.name == name:
                return index
        raise KeyError(name)
