"""What samples cost, on its way to a sampler that asks for it."""

import time
from collections.abc import Callable

from torch import Tensor

from melissa_like.loading import Batch
from melissa_like.protocol.control import Losses

__all__ = ["LossReporter"]

_REPORT_EVERY_S = 0.1
_MOST_KEPT = 10_000


class LossReporter:
    """Collects the losses of samples with their keys and tells them together. The trainer's thread alone.

    Args:
        tell: says something to the launcher; must not block.
    """

    def __init__(self, tell: Callable[[Losses], None]) -> None:
        self._tell = tell
        self._keys: list[tuple[int, int]] = []
        self._losses: list[float] = []
        self._told_at = 0.0

    def observe(self, batch: Batch, losses: Tensor) -> None:
        """Take the loss of each sample of a batch, [B]; waits for the device."""
        keys = zip(batch.simulations.tolist(), batch.steps.tolist(), strict=True)
        self._keys += keys
        self._losses += losses.detach().tolist()
        now = time.monotonic()
        if now - self._told_at >= _REPORT_EVERY_S or len(self._keys) >= _MOST_KEPT:
            self._told_at = now
            self._tell(Losses(keys=tuple(self._keys), losses=tuple(self._losses)))
            self._keys, self._losses = [], []
