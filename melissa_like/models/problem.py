"""`Problem`: what a network is given and what it has to return; the one thing that it is built from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FieldShape", "Problem"]


@dataclass(frozen=True, slots=True)
class FieldShape:
    """Components and grid of a field, as a network sees it: [B, components, *grid].

    Several time steps of a field are stacked into components, those of the earliest step first. Most networks need not
    know of them.

    Attributes:
        components: of all its time steps together.
        grid: points along each axis.
        steps: time steps that the components stand for.

    Raises:
        ValueError: a number below 1, or components that are not as many for each time step.
    """

    components: int
    grid: tuple[int, ...]
    steps: int = 1

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

    @property
    def size(self) -> int:
        """Numbers per sample."""
        return self.components * math.prod(self.grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Inputs and targets of a network. All that it sees and returns is normalized.

    A network is called by keyword with what is listed here, and with nothing else: `fields`, a mapping by name of
    [B, C, *grid]; `parameters`, [B, P]; `time`, [B]. It returns a mapping by target field of [B, C, *grid]. The axis C
    is there for one component too.

    Attributes:
        targets: the fields that it returns, by name.
        fields: the fields that it is given, by name.
        parameters: names of the parameters that it is given, in the order of their columns.
        time: whether it is given the time.
    """

    targets: Mapping[str, FieldShape]
    fields: Mapping[str, FieldShape] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    time: bool = False

    @property
    def num_inputs(self) -> int:
        """Numbers per sample that the network is given."""
        return sum(shape.size for shape in self.fields.values()) + len(self.parameters) + self.time

    @property
    def num_outputs(self) -> int:
        """Numbers per sample that the network returns."""
        return sum(shape.size for shape in self.targets.values())
