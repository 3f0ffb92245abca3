"""When the time steps of a simulation are."""

from melissa_like.solvers.parameters import require_at_least_one, require_positive

__all__ = ["time_between_steps"]


def time_between_steps(num_steps: int, end_time: float) -> float:
    """Δt, if the first of the steps is at time 0 and the last one at `end_time`.

    Raises:
        ValueError: no step, or an end that is not after the beginning.
    """
    require_at_least_one(num_steps=num_steps)
    require_positive(end_time=end_time)
    return end_time / max(num_steps - 1, 1)
