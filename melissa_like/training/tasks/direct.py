"""From parameters and time to the whole time step."""

from collections.abc import Mapping, Sequence

import numpy.typing as npt
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import (
    fields_named,
    restored_fields,
    shape_of,
    with_components,
)
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.starts import one_sample
from melissa_like.training.tasks.static import GivenStatic
from melissa_like.training.tasks.task import Compared

__all__ = ["Direct"]


class Direct:
    """The direct surrogate: (parameters, time) to the fields of that time step, in one call of the network.

    It needs no earlier step, so any step of any simulation is a sample. The time is the index of the step.

    Args:
        layout: of the study.
        targets: names of the fields to be learned; None: all.
        static: whether the network is given the static data, or the names of those that it is given.

    Raises:
        ValueError: a name that is no field or no static data, or none.
    """

    window = None

    def __init__(
        self, layout: Layout, targets: Sequence[str] | None = None, static: bool | Sequence[str] = True
    ) -> None:
        self._fields = fields_named(layout, targets, "targets")
        self._layout = layout
        self._parameters = GivenParameters(layout)
        self._static = GivenStatic(layout, static)
        self.problem = Problem(
            parameters=layout.parameters,
            time=True,
            targets={name: shape_of(spec) for name, spec in self._fields.items()},
            static=self._static.shapes,
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()} | self._static.quantities

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, and the static data."""
        fields = {name: with_components(batch.fields[name], spec) for name, spec in self._fields.items()}
        return fields | self._static.measure(batch)

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`: one call, with the fields of its time step."""
        return self.advance(network, scale, batch), self.targets(scale, batch)

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: these fields, as `measure` gives them, which a task of the user's may make its own."""
        measured = self.measure(batch)
        return {name: scale.normalize(name, measured[name]) for name in self._fields}

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: one call."""
        predictions: Mapping[str, Tensor] = network(
            parameters=scale.normalize_parameters(batch.parameters),
            time=scale.normalize_steps(batch.steps),
            **self._static.given(scale, self.problem, batch),
        )
        return predictions

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, [B, *shape]."""
        return restored_fields(scale, values, self._fields)

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, [B, *shape]."""
        return {name: batch.fields[name].float() for name in self._fields}

    def request(
        self,
        parameters: Mapping[str, float],
        *,
        step: int,
        time: float | None = None,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Batch:
        """One time step.

        Args:
            parameters: by name, in original units.
            step: index of the time step; 0 in a steady problem.
            time: physical time; the step index by default. Nothing here looks at it.
            static: what the network is given of a simulation's static data, by name: [*grid] or [components, *grid].

        Raises:
            ValueError: a parameter or static data is missing or unknown, or the latter contradict one another.
        """
        once = self._static.of_one(static)
        given = self._parameters.of(parameters)
        return one_sample(self._layout, given, step=step, time=time, extents=self.problem.extents, static=once)
