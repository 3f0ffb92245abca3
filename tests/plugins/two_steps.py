"""A task of a user that learns from two consecutive time steps, and knows nothing of `buffer.window`."""

from collections.abc import Mapping

from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import FieldShape, Problem
from melissa_like.records import Layout, Window
from melissa_like.training import Normalization


class NextStep:
    """From the fields of a grid, of one component each, to what they will be one step later."""

    window = Window(length=2)

    def __init__(self, layout: Layout) -> None:
        fields = {field.name: FieldShape(components=1, grid=field.shape) for field in layout.fields}
        self.problem = Problem(fields=fields, targets=fields)
        self.quantities: Mapping[str, int] = dict.fromkeys(fields, 1)

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: values.flatten(0, 1).unsqueeze(1) for name, values in batch.fields.items()}

    def compare(
        self, network: nn.Module, scale: Normalization, batch: Batch, progress: float
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        return self.advance(network, scale, batch), self.targets(scale, batch)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        predictions: Mapping[str, Tensor] = network(fields=self._step(scale, batch, 0))
        return predictions

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        return self._step(scale, batch, 1)

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: scale.restore(name, part).squeeze(1) for name, part in values.items()}

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: values[:, 1].float() for name, values in batch.fields.items()}

    def _step(self, scale: Normalization, batch: Batch, number: int) -> Mapping[str, Tensor]:
        return {name: scale.normalize(name, values[:, number].unsqueeze(1)) for name, values in batch.fields.items()}
