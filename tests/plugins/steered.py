"""A sampler whose later parameters depend on the losses that were observed."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from melissa_like.sampling import Design


class Steered:
    """Every second simulation is a neighbour of the one that was hardest to learn so far, once losses have come.

    A neighbour lies half a unit above: the design gives whole numbers, so that it can be told which is which.
    """

    def __init__(self, *, distributions: Mapping[str, Any], design: Design, num_simulations: int, seed: int) -> None:
        self._design = design
        self._num_drawn = 0
        self._parameters: dict[int, float] = {}
        self._losses: defaultdict[int, list[float]] = defaultdict(list)

    def next(self, simulations: range) -> np.ndarray:
        """Parameters of the next simulations."""
        rows = []
        for simulation in simulations:
            known = [number for number in self._losses if number in self._parameters]
            if known and simulation % 2:
                worst = max(known, key=lambda number: float(np.mean(self._losses[number])))
                value = self._parameters[worst] + 0.5
            else:
                (value,) = self._design.draw(self._num_drawn, 1)[0]
                self._num_drawn += 1
            self._parameters[simulation] = float(value)
            rows.append([value])
        return np.array(rows)

    def observe(self, keys: np.ndarray, losses: np.ndarray) -> None:
        """Keep the losses by simulation."""
        for (simulation, _), loss in zip(keys.tolist(), losses.tolist(), strict=True):
            self._losses[simulation].append(loss)

    def state_dict(self) -> dict[str, Any]:
        """All that it knows."""
        return {"num_drawn": self._num_drawn, "parameters": self._parameters, "losses": dict(self._losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from it."""
        self._num_drawn = state["num_drawn"]
        self._parameters = dict(state["parameters"])
        self._losses.update(state["losses"])
