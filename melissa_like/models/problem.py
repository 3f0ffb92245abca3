"""`Problem`: what a network is given and what it has to return; the one thing that it is built from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FieldShape", "Problem", "StaticShape"]


@dataclass(frozen=True, slots=True)
class FieldShape:
    """Components and grid of a field, as a network sees it: [B, components, *grid], or [ΣN, components] on an extent.

    Several time steps of a field are stacked into components, those of the earliest step first. Most networks need not
    know of them.

    Attributes:
        components: of all its time steps together.
        grid: points along each axis.
        steps: time steps that the components stand for.
        extent: whose points the field lies on, where their number differs between simulations; None: on the grid.

    Raises:
        ValueError: a number below 1, components that are not as many for each time step, or a grid and an extent.
    """

    components: int
    grid: tuple[int, ...]
    steps: int = 1
    extent: str | None = None

    def __post_init__(self) -> None:
        if min(self.components, self.steps, *self.grid) < 1:
            raise ValueError(
                f"a field of {self.components} components and {self.steps} time steps on the grid {self.grid}: give 1 "
                "or more for each"
            )
        if self.components % self.steps:
            raise ValueError(
                f"a field of {self.components} components for {self.steps} time steps: give as many for each step"
            )
        if self.extent is not None and self.grid:
            raise ValueError(
                f"a field on the grid {self.grid} and on the extent {self.extent!r}: leave one of them out"
            )

    @property
    def size(self) -> int:
        """Numbers per sample; on an extent, per point."""
        return self.components * math.prod(self.grid)


@dataclass(frozen=True, slots=True)
class StaticShape:
    """What does not change with time, as a network sees it: [B, components, *grid], or [ΣN, components] on an extent.

    Attributes:
        components: per point.
        grid: points along each axis.
        extent: whose points it lies on, where their number differs between simulations; None: on the grid.
        indexes: the extent whose points it numbers, as the corners of triangles are, counted through the batch, or the
            number of points of a grid that are numbered; int64 then. None: it holds values, which are normalized.
        shared: it is the same for all simulations, and has no axis of samples: [components, *grid].
    """

    components: int
    grid: tuple[int, ...] = ()
    extent: str | None = None
    indexes: str | int | None = None
    shared: bool = False

    @property
    def size(self) -> int:
        """Numbers per sample; on an extent, per point."""
        return self.components * math.prod(self.grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Inputs and targets of a network. All that it sees and returns is normalized.

    A network is called by keyword with what is listed here, and with nothing else: `fields`, a mapping by name of
    [B, C, *grid]; `parameters`, [B, P]; `time`, [B]. It returns a mapping by target field of [B, C, *grid]. The axis C
    is there for one component too.

    Where the number of points differs between simulations, a field on them is [ΣN, C], the points of all samples one
    after another. The network is then also given `offsets`, by extent, int64 [B + 1]: sample b has the rows offsets[b]
    to before offsets[b + 1]. What does not change with time is in `static`, a mapping by name.

    Attributes:
        targets: the fields that it returns, by name.
        fields: the fields that it is given, by name.
        parameters: names of the parameters that it is given, in the order of their columns.
        time: whether it is given the time.
        static: what it is given that does not change with time, by name.
    """

    targets: Mapping[str, FieldShape]
    fields: Mapping[str, FieldShape] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    time: bool = False
    static: Mapping[str, StaticShape] = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        """Numbers per sample that the network is given, without what is static."""
        return sum(shape.size for shape in self.fields.values()) + len(self.parameters) + self.time

    @property
    def num_outputs(self) -> int:
        """Numbers per sample that the network returns."""
        return sum(shape.size for shape in self.targets.values())

    @property
    def extents(self) -> tuple[str, ...]:
        """Those of which the network is given offsets: of its fields, its targets and what is static."""
        moving = [shape.extent for shape in (*self.fields.values(), *self.targets.values())]
        still = [shape.extent for shape in self.static.values()]
        return tuple(dict.fromkeys(extent for extent in moving + still if extent is not None))
