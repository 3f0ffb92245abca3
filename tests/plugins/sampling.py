"""A design that numbers the simulations: the parameter `number` is the simulation's own number."""

from collections.abc import Mapping
from typing import Any

import numpy as np


class Number:
    """A distribution over the simulations' numbers."""

    bounds = (0.0, 100.0)

    def ppf(self, u: np.ndarray) -> np.ndarray:
        """Linear."""
        return 100.0 * u


class Counting:
    """Simulation i gets the number i."""

    def __init__(self, distributions: Mapping[str, Any], *, num_simulations: int, seed: int) -> None:
        self._names = tuple(distributions)

    def draw(self, index: int) -> dict[str, float]:
        """The number itself."""
        return {name: float(index) for name in self._names}
