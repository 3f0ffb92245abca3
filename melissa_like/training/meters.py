"""What is measured while training: the loss without waiting for the device, and where the time goes."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

__all__ = ["InputClock", "LossMeter"]

Item = TypeVar("Item")


class LossMeter:
    """Mean per-sample loss since the last reading, accumulated on the device: only `read` waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._sum = torch.zeros((), dtype=torch.float64, device=device)
        self._count = 0
        self._last = math.nan

    def add(self, summed: torch.Tensor, num_samples: int) -> None:
        """Add the summed loss of some samples, a scalar on the device."""
        self._sum += summed
        self._count += num_samples

    def read(self) -> float:
        """The mean since the last reading; the last one if nothing came since, NaN if nothing ever came."""
        if self._count:
            self._last = self._sum.item() / self._count
            self._sum.zero_()
            self._count = 0
        return self._last


class InputClock:
    """Measures how long an iterable lets its reader wait.

    Attributes:
        startup_s: until the first item.
        wait_s: in all later requests for an item, the one that finds the end included.
    """

    def __init__(self) -> None:
        self.startup_s = 0.0
        self.wait_s = 0.0
        self._first_at: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Since the first item came; 0 before."""
        return 0.0 if self._first_at is None else time.monotonic() - self._first_at

    def measure(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, measured."""
        asked = time.monotonic()
        for item in items:
            self._note(time.monotonic() - asked)
            yield item
            asked = time.monotonic()
        self._note(time.monotonic() - asked)

    def _note(self, waited_s: float) -> None:
        if self._first_at is None:
            self.startup_s = waited_s
            self._first_at = time.monotonic()
        else:
            self.wait_s += waited_s
