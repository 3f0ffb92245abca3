"""When the time steps of a simulation are."""

import math

__all__ = ["time_between_steps"]


def time_between_steps(num_steps: int, end_time: float) -> float:
    """Δt, if the first of the steps is at time 0 and the last one at `end_time`.

    Raises:
        ValueError: no step, or an end that is not after the beginning.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}: write 1 or more, such as 250")
    if not (math.isfinite(end_time) and end_time > 0):
        raise ValueError(f"end_time is {end_time}: it must be positive")
    return end_time / max(num_steps - 1, 1)
