"""`TimeRange`: what the time of a network's input is scaled from, as far as a server rank knows."""

from collections.abc import Callable

__all__ = ["TimeRange", "misfit_of"]

#: Simulations of an adaptive solver differ in length; inputs a few times beyond the range are still learned.
_FAR = 10


class TimeRange:
    """The numbers of the first and the last time step of a simulation: declared, or told once one has ended.

    Args:
        end_time: number of the last step, if it is declared; then the first is 0.
        num_steps: of a simulation, if it is declared: they are numbered from 0, or from 1, unless one comes that is
            not.
        highest_step: of all that have come to this rank so far; -1 before the first.
    """

    def __init__(self, *, end_time: float | None, num_steps: int | None, highest_step: Callable[[], int]) -> None:
        self._end_time = end_time
        self._num_steps = num_steps
        self._highest_step = highest_step
        self._told: tuple[float, float] | None = None  # one reference, set by the control thread

    def tell(self, first: float, last: float) -> None:
        """The steps of a simulation that has ended are known: of the launcher, or of a checkpoint."""
        self._told = float(first), float(last)

    def known(self) -> tuple[float, float] | None:
        """First and last; None as long as nobody knows."""
        if self._end_time is not None:
            return 0.0, self._end_time
        if self._num_steps is not None and self._highest_step() <= self._num_steps:
            return 0.0, self._num_steps - 1.0
        return self._told


def misfit_of(highest_step: int, scaled_from: tuple[float, float], *, is_complete: bool) -> str | None:
    """Why the range that the time was scaled from is not that of the steps that came, or None if it fits them.

    Args:
        highest_step: of all that came.
        scaled_from: numbers of the first and the last step.
        is_complete: whether all have come, so that the last one is among them.
    """
    first, last = scaled_from
    goes_beyond = highest_step > first + _FAR * max(1.0, last - first)
    fills_little = is_complete and last - first > _FAR * max(1.0, highest_step - first)
    if not (goes_beyond or fills_little):
        return None
    return (
        f"the time was scaled from {first:g} to {last:g}, but time steps came that are numbered up to {highest_step}, "
        "so the network hardly tells their times apart: set solver.end_time to the number of the last one, about"
    )
