"""What a network is given that does not change with time: coordinates, connectivity, masks, material."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from torch import Tensor

from melissa_like.loading import Batch
from melissa_like.models import Problem, StaticShape
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization

__all__ = ["GivenStatic"]


class GivenStatic:
    """All static data of a study, some of it, or none; and where the points of each sample are, if numbers differ.

    Values are normalized by their statistics as fields are, numbers of points are not.

    Args:
        layout: of the study.
        wanted: True for all, False for none, or their names.

    Attributes:
        shapes: of what is given, by name: for the problem.
        quantities: what of it is normalized, by name, with its components.

    Raises:
        ValueError: a name that is no static data, or an empty list.
    """

    def __init__(self, layout: Layout, wanted: bool | Sequence[str] = True) -> None:
        own = {spec.name: spec for spec in layout.static}
        shared = {wide.spec.name: wide.spec for wide in layout.study_wide}
        known = own | shared
        if isinstance(wanted, bool):
            names = [*known] if wanted else []
        elif isinstance(wanted, str) or not wanted or not set(wanted) <= set(known):
            named = wanted if isinstance(wanted, str) else list(wanted)
            raise ValueError(
                f"the static data to be given are {named} and those of the solver are {', '.join(known) or '(none)'}: "
                "give a list of one or more of these, true for all, or false"
            )
        else:
            names = [name for name in known if name in wanted]
        self._shared = frozenset(shared)
        self._specs = {name: known[name] for name in names}
        self._values = {name: spec for name, spec in self._specs.items() if spec.indexes is None}
        self.shapes = {name: _shape(spec, shared=name in shared) for name, spec in self._specs.items()}
        self.quantities = {name: spec.components for name, spec in self._values.items()}

    def of_one(self, static: Mapping[str, npt.ArrayLike] | None) -> Mapping[str, npt.ArrayLike]:
        """The static data of one simulation, as a user gives them.

        Raises:
            ValueError: some are missing or unknown.
        """
        given, needed = static or {}, [name for name in self._specs if name not in self._shared]
        if set(given) != set(needed):
            raise ValueError(
                f"the static data are {', '.join(given) or '(none)'}, expected {', '.join(needed) or '(none)'}: give "
                "exactly what the network is given of a simulation's own (static={...})"
            )
        return given

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """What is normalized, in original units, [n, C, *grid]."""
        return {name: self._with_components(batch, name) for name in self._values}

    def given(self, scale: Normalization, problem: Problem, batch: Batch) -> dict[str, Any]:
        """The arguments of a network: `static` and `offsets`, those that the problem has."""
        given: dict[str, Any] = {}
        if self._specs:
            given["static"] = {name: self._seen(scale, batch, name) for name in self._specs}
        if problem.extents:
            given["offsets"] = {extent: batch.offsets[extent] for extent in problem.extents}
        return given

    def _seen(self, scale: Normalization, batch: Batch, name: str) -> Tensor:
        values = self._with_components(batch, name)
        seen = scale.normalize(name, values) if name in self._values else values.long()
        return seen[0] if name in self._shared else seen

    def _with_components(self, batch: Batch, name: str) -> Tensor:
        """[n, C, *grid]; of what all simulations share n is 1."""
        values = batch.static[name].unsqueeze(0) if name in self._shared else batch.static[name]
        spec = self._specs[name]
        return values.unsqueeze(1) if spec.components == 1 and spec.extent is None else values


def _shape(spec: FieldSpec, *, shared: bool) -> StaticShape:
    grid = () if spec.extent is not None else spec.grid
    return StaticShape(spec.components, grid, extent=spec.extent, indexes=spec.indexes, shared=shared)
