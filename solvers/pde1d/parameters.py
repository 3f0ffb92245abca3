"""What the plug-ins of this folder ask of their arguments, before anything is computed."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["only_rank", "read_parameters", "time_between_steps"]


def only_rank(solver: str, comm: Any) -> None:
    """Refuse several ranks.

    Raises:
        ValueError: there are several.
    """
    if comm.size != 1:
        raise ValueError(
            f"{solver} was started on {comm.size} ranks: a line is too small to share, write solver.num_ranks=1 and "
            "raise launcher.max_jobs instead"
        )


def read_parameters(solver: str, parameters: Mapping[str, float], options: Mapping[str, float]) -> dict[str, float]:
    """The seed and all coefficients: what is a parameter of the simulation takes the place of the option.

    Raises:
        ValueError: the seed is missing, a parameter is unknown, or a number is not finite.
    """
    if "seed" not in parameters or not set(parameters) <= {"seed", *options}:
        raise ValueError(
            f"{solver} received the parameters {', '.join(sorted(parameters)) or '(none)'}: give seed, and of "
            f"{', '.join(options)} those that differ between simulations"
        )
    values = {name: float(value) for name, value in (dict(options) | dict(parameters)).items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}: it must be a finite number")
    return values


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
