"""A design that numbers the simulations: the parameter `number` is the simulation's own number."""

from collections.abc import Mapping
from typing import Any

import numpy as np


class Number:
    """A distribution over the simulations' numbers."""

    def __init__(self, high: float = 100.0) -> None:
        self.bounds = (0.0, high)

    def ppf(self, u: np.ndarray) -> np.ndarray:
        """Linear."""
        return self.bounds[1] * u


class Counting:
    """Simulation i gets the number i."""

    def __init__(self, distributions: Mapping[str, Any], *, num_simulations: int, seed: int) -> None:
        self._num_parameters = len(distributions)

    def draw(self, first: int, num: int) -> np.ndarray:
        """The numbers themselves."""
        return np.repeat(np.arange(first, first + num, dtype=float)[:, np.newaxis], self._num_parameters, axis=1)
