"""From parameters and time to the whole time step."""

from collections.abc import Mapping

from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import one_sample, shape_of, with_components, without_components

__all__ = ["Direct"]


class Direct:
    """The direct surrogate: (parameters, time) to all fields of that time step, in one call of the network.

    It needs no earlier step, so any step of any simulation is a sample. The time is the index of the step.

    Args:
        layout: of the study.
    """

    window = None

    def __init__(self, layout: Layout) -> None:
        self._fields = {field.name: field for field in layout.fields}
        self._layout = layout
        self.problem = Problem(
            parameters=layout.parameters,
            time=True,
            targets={name: shape_of(spec) for name, spec in self._fields.items()},
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()}

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields."""
        return {name: with_components(batch.fields[name], spec) for name, spec in self._fields.items()}

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: all fields."""
        return {name: scale.normalize(name, values) for name, values in self.measure(batch).items()}

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """See `Task`: one call."""
        predictions: Mapping[str, Tensor] = network(
            parameters=scale.normalize_parameters(batch.parameters), time=scale.normalize_steps(batch.steps)
        )
        return predictions

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {
            name: without_components(scale.restore(name, values[name]), spec) for name, spec in self._fields.items()
        }

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {name: batch.fields[name].float() for name in self._fields}

    def request(self, parameters: Mapping[str, float], *, step: int, time: float | None = None) -> Batch:
        """One time step.

        Args:
            parameters: by name, in original units.
            step: index of the time step.
            time: physical time; the step index by default. Nothing here looks at it.

        Raises:
            ValueError: a parameter is missing or unknown.
        """
        return one_sample(self._layout, parameters, step=step, time=time)
