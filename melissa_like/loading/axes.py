"""`BatchAxes`: what runs along the first axis of the tensors of a batch, where it is not the samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from melissa_like.records import Layout

__all__ = ["BatchAxes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAxes:
    """What runs along the first axis, by name of a field or of static data; of those not named the samples do.

    Attributes:
        points: of what is concatenated, the extent whose points do.
        indexes: of static data that holds numbers of points, the extent that they are of.
        shared: static data that all simulations of the study have in common, without an axis of samples.
    """

    points: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """The axes of the batches of a study."""
        own = (*layout.fields, *layout.static)
        return cls(
            points={spec.name: spec.extent for spec in own if spec.extent is not None},
            indexes={spec.name: spec.indexes for spec in layout.static if isinstance(spec.indexes, str)},
            shared=frozenset(wide.spec.name for wide in layout.study_wide),
        )
