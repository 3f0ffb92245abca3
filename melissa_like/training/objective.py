"""What is minimized, as one module: the network's way through a task, and the loss of each sample."""

from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.training.losses import FieldLosses
from melissa_like.training.outputs import check_outputs
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.tasks import Compared

__all__ = ["PRECISIONS", "Objective"]

#: Of the network's forward and backward pass, by name.
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


class Objective(nn.Module):
    """A batch to one loss per sample, in normalized units; this is what is wrapped for several ranks.

    Args:
        surrogate: on the device of the batches; its network is trained.
        losses: of all target fields.
        precision: of the network's pass; weights and loss stay float32.
    """

    def __init__(self, surrogate: Surrogate, losses: FieldLosses, *, precision: str = "float32") -> None:
        super().__init__()
        self.network = surrogate.network
        # Bound, not submodules: whoever joins the ranks sends the buffers of submodules around at every step.
        self._compare = partial(surrogate.task.compare, surrogate.network, surrogate.normalization)
        self._losses = losses
        dtype = PRECISIONS[precision]
        self._computing = (
            nullcontext if dtype == torch.float32 else partial(torch.autocast, surrogate.device.type, dtype=dtype)
        )
        self._checked = False

    def forward(self, batch: Batch | None, progress: float) -> Tensor:
        """The loss of each sample, [B]; without a batch a zero that depends on every weight.

        Args:
            batch: None where this rank has nothing to draw.
            progress: share of the study's samples delivered, 0 to 1.

        Raises:
            TypeError: at the first batch, the network did not return a mapping of tensors, or the loss no tensor.
            ValueError: at the first batch, a target is missing or has another shape, or there is not one loss a sample.
        """
        if batch is None:
            return _nothing(self.network)
        predictions, targets = self.compared(batch, progress)
        if not self._checked:
            check_outputs(predictions, targets)
            self._checked = True
        return self._losses(predictions, targets, batch.offsets)

    def compared(self, batch: Batch, progress: float) -> Compared:
        """Predictions, in the precision of the network's pass, and their targets: see `Task.compare`."""
        with self._computing():
            return self._compare(batch, progress)


def _nothing(network: nn.Module) -> Tensor:
    """A zero with a gradient of zero for every weight; batch statistics stay untouched."""
    trained = (weights for weights in network.parameters() if weights.requires_grad)
    # A loss is real: complex weights, as of layers in Fourier space, count as pairs.
    zeros = [(torch.view_as_real(each) if each.is_complex() else each).sum() * 0.0 for each in trained]
    return torch.stack(zeros).sum()
