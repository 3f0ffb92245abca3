"""From some fields of a time step to its others."""

from collections.abc import Mapping, Sequence

import numpy.typing as npt
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import fields_named, one_sample, shape_of, with_components, without_components

__all__ = ["Operator"]


class Operator:
    """(Input fields, parameters, time) to the other fields of the same time step: a source to the field it causes.

    Args:
        layout: of the study.
        inputs: names of the fields that are given; they are inputs only.
        targets: names of the fields to be learned; None: all others.

    Raises:
        ValueError: a name that is no field or is both, none, or no field left to be learned.
    """

    window = None

    def __init__(self, layout: Layout, inputs: Sequence[str], targets: Sequence[str] | None = None) -> None:
        others = [field.name for field in layout.fields if field.name not in inputs]
        self._layout = layout
        self._inputs = fields_named(layout, inputs, "inputs")
        self._targets = fields_named(layout, others if targets is None else targets, "targets")
        both = [name for name in self._targets if name in self._inputs]
        if both:
            raise ValueError(f"{', '.join(both)} are inputs and targets: name each field once")
        self._fields = self._inputs | self._targets
        self.problem = Problem(
            fields={name: shape_of(spec) for name, spec in self._inputs.items()},
            parameters=layout.parameters,
            time=True,
            targets={name: shape_of(spec) for name, spec in self._targets.items()},
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()}

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields, inputs and targets."""
        return {name: with_components(batch.fields[name], spec) for name, spec in self._fields.items()}

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned."""
        return {
            name: scale.normalize(name, with_components(batch.fields[name], spec))
            for name, spec in self._targets.items()
        }

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """See `Task`: one call."""
        predictions: Mapping[str, Tensor] = network(
            fields={
                name: scale.normalize(name, with_components(batch.fields[name], spec))
                for name, spec in self._inputs.items()
            },
            parameters=scale.normalize_parameters(batch.parameters),
            time=scale.normalize_steps(batch.steps),
        )
        return predictions

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {
            name: without_components(scale.restore(name, values[name]), spec) for name, spec in self._targets.items()
        }

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {name: batch.fields[name].float() for name in self._targets}

    def request(
        self,
        parameters: Mapping[str, float],
        *,
        fields: Mapping[str, npt.ArrayLike],
        step: int,
        time: float | None = None,
    ) -> Batch:
        """One time step.

        Args:
            parameters: by name, in original units.
            fields: the input fields, by name, in original units and of their global shapes.
            step: index of the time step.
            time: physical time; the step index by default. Nothing here looks at it.

        Raises:
            ValueError: a parameter or an input field is missing or unknown, or a field has another shape.
        """
        if set(fields) != set(self._inputs):
            raise ValueError(f"the fields are {list(fields)}, expected {list(self._inputs)}: give exactly the inputs")
        return one_sample(self._layout, parameters, step=step, time=time, fields=fields)
