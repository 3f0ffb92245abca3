"""A curriculum of one's own."""

from melissa_like.training.curriculum import Unrolling

__all__ = ["farthest_push"]


def farthest_push(num_calls: int, progress: float) -> Unrolling:
    """Pushforward without a draw: all calls but the last without gradient."""
    return Unrolling(calls=num_calls, run=num_calls, silent=num_calls - 1)
