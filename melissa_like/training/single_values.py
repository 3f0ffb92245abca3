"""Batch normalization where a batch has one value per channel, as the last batch of a stream may.

One value has no deviation, so torch refuses it in training. Such a batch is normalized by the running statistics
instead, as in evaluation, and leaves them as they are; its sample is trained on like any other.
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["let_single_values_pass"]


def let_single_values_pass(network: nn.Module) -> None:
    """Let the batch norms of a network take batches of one value per channel. Twice is as good as once."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            waiting = _Waiting()
            layer.register_forward_pre_hook(waiting.stand_still)
            layer.register_forward_hook(waiting.go_on)


class _Waiting:
    """The hooks of one layer."""

    def __init__(self) -> None:
        self._stands_still = False

    def stand_still(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        (values,) = inputs
        self._stands_still = layer.training and values.numel() == values.shape[1]
        if self._stands_still:
            layer.training = False

    def go_on(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._stands_still:
            layer.training = True
