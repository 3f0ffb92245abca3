"""What a solver sends: fields, their shapes and dtypes, and the boxes of its ranks."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from melissa_like.records.fields import FieldSpec, StudyWideField

__all__ = ["Box", "FloatArray", "Layout"]

FloatArray: TypeAlias = npt.NDArray[np.float64]


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
class Layout:
    """What every simulation of a study sends: its fields, in order, and the names of its parameters.

    Where a simulation says its own sizes (`extents`), this is what they have in common; `sized` is that of one.

    Attributes:
        fields: of a time step.
        static: what a simulation sends once, before its first time step: coordinates, connectivity, a material.
        study_wide: what is the same in all simulations, and is not sent.

    Raises:
        ValueError: no field, a name used twice, or numbers of points that no field has.
    """

    fields: tuple[FieldSpec, ...]
    parameters: tuple[str, ...]
    static: tuple[FieldSpec, ...] = ()
    study_wide: tuple[StudyWideField, ...] = ()

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("the layout has no field: declare at least one under solver.fields")
        everything = [*self.fields, *self.static, *(wide.spec for wide in self.study_wide)]
        names = [spec.name for spec in everything]
        if len(set(names)) != len(names):
            raise ValueError(f"a field is declared twice: {names}")
        extents = self.extents
        for spec in everything:
            if isinstance(spec.indexes, str) and spec.indexes not in extents:
                raise ValueError(
                    f"field {spec.name!r} indexes {spec.indexes!r}, which is no extent of a field: write one of "
                    f"{', '.join(extents) or 'those (there is none yet)'}, or a number of points"
                )

    @property
    def layout_id(self) -> int:
        """32 bits that differ between different layouts, and not between the simulations of one; both ends compare."""
        declared = [
            [(f.name, f.shown_shape, f.dtype, f.components, f.indexes) for f in some]
            for some in (self.fields, self.static)
        ]
        text = repr((declared, self.parameters))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    @property
    def is_ragged(self) -> bool:
        """Whether each simulation has sizes or static fields of its own, so that samples are not all alike."""
        return bool(self.static) or any(field.extent is not None for field in self.fields)

    @property
    def extents(self) -> tuple[str, ...]:
        """Names of the sizes that each simulation says when it begins, in the order in which the fields name them."""
        return tuple(dict.fromkeys(f.extent for f in (*self.fields, *self.static) if f.extent is not None))

    def sized(self, extents: Mapping[str, int]) -> "Layout":
        """The layout of one simulation: every shape in numbers.

        Args:
            extents: the size of each, by name; 1 or more.

        Raises:
            ValueError: sizes of other extents than there are, or one below 1.
        """
        if {*extents} != {*self.extents} or any(size < 1 for size in extents.values()):
            raise ValueError(
                f"a simulation has the extents {dict(extents)}: give a size of 1 or more for each of "
                f"{', '.join(self.extents) or 'none'}"
            )
        return replace(
            self,
            fields=tuple(spec.sized(extents) for spec in self.fields),
            static=tuple(spec.sized(extents) for spec in self.static),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each extent, by name, in their order; 0 where nobody has told it."""
        return {f.extent: f.shape[-1] for f in (*self.fields, *self.static) if f.extent is not None}

    @property
    def sample_size(self) -> int:
        """Elements of one sample."""
        return sum(field.size for field in self.fields)

    @property
    def sample_nbytes(self) -> int:
        """Bytes of one sample as stored, without what is sent once."""
        return sum(field.nbytes for field in self.fields)

    @property
    def static_nbytes(self) -> int:
        """Bytes of what a simulation sends once."""
        return sum(field.nbytes for field in self.static)

    def field_id(self, name: str) -> int:
        """Position of a field.

        Raises:
            KeyError: no such field.
        """
        for index, field in enumerate(self.fields):
            if field.name == name:
                return index
        raise KeyError(name)
