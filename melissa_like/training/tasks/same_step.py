"""From some fields of a time step to its others."""

from collections.abc import Mapping

import numpy.typing as npt
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import (
    normalized_fields,
    restored_fields,
    shape_of,
    with_components,
)
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.starts import one_sample
from melissa_like.training.tasks.static import GivenStatic
from melissa_like.training.tasks.task import Compared

__all__ = ["SameStep"]


class SameStep:
    """(Input fields, parameters, time) to the other fields of the same time step.

    Args:
        layout: of the study.
        inputs: the fields that are given, by name.
        targets: the fields to be learned, by name.
        parameters: those that the network is given.
        static: the same of what does not change with time.
    """

    window = None

    def __init__(
        self,
        layout: Layout,
        inputs: Mapping[str, FieldSpec],
        targets: Mapping[str, FieldSpec],
        parameters: GivenParameters,
        static: GivenStatic,
    ) -> None:
        self._layout = layout
        self._parameters = parameters
        self._static = static
        self._inputs = inputs
        self._targets = targets
        self._fields = {**inputs, **targets}
        self.problem = Problem(
            fields={name: shape_of(spec) for name, spec in inputs.items()},
            parameters=self._parameters.names,
            time=True,
            targets={name: shape_of(spec) for name, spec in targets.items()},
            static=static.shapes,
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()} | static.quantities

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields, inputs and targets, and the static data."""
        fields = {name: with_components(batch.fields[name], spec) for name, spec in self._fields.items()}
        return fields | self._static.measure(batch)

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`: one call, with the fields to be learned."""
        return self.advance(network, scale, batch), self.targets(scale, batch)

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned."""
        return normalized_fields(scale, batch.fields, self._targets)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: one call."""
        predictions: Mapping[str, Tensor] = network(
            fields=normalized_fields(scale, batch.fields, self._inputs),
            time=scale.normalize_steps(batch.steps),
            **self._parameters.normalized(scale, batch),
            **self._static.given(scale, self.problem, batch),
        )
        return predictions

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, [B, *shape]."""
        return restored_fields(scale, values, self._targets)

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, [B, *shape]."""
        return {name: batch.fields[name].float() for name in self._targets}

    def request(
        self,
        parameters: Mapping[str, float],
        *,
        fields: Mapping[str, npt.ArrayLike],
        step: int,
        time: float | None = None,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Batch:
        """One time step.

        Args:
            parameters: by name, in original units.
            fields: the input fields, by name, in original units and of their global shapes.
            step: index of the time step.
            time: physical time; the step index by default. Nothing here looks at it.
            static: what the network is given of a simulation's static data, by name: [*grid] or [components, *grid].

        Raises:
            ValueError: a parameter, an input field or static data is missing or unknown, or one has another shape.
        """
        if set(fields) != set(self._inputs):
            raise ValueError(f"the fields are {list(fields)}, expected {list(self._inputs)}: give exactly the inputs")
        once = self._static.of_one(static)
        return one_sample(
            self._layout,
            self._parameters.of(parameters),
            step=step,
            time=time,
            extents=self.problem.extents,
            fields=fields,
            static=once,
        )
