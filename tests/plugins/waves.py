"""A solver whose time steps follow from one another: waves that travel around a ring and fade."""

from collections.abc import Iterator, Mapping

import numpy as np

__all__ = ["solve"]


def solve(
    parameters: Mapping[str, float], comm: object, *, num_steps: int = 25
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Height and slope of a wave of a random phase, [16] each."""
    x = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for step in range(num_steps):
        phase = x - 0.1 * step * parameters["speed"] + parameters["phase"]
        fading = np.exp(-0.02 * step)
        yield step, {"height": fading * np.sin(phase), "slope": fading * np.cos(phase)}
