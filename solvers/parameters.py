"""The numbers that a simulation depends on, drawn by a sampler or given as options, checked."""

import math
from collections.abc import Mapping, Sequence

__all__ = ["read_parameters", "require_at_least_one", "require_not_negative", "require_positive"]


def read_parameters(
    solver: str, parameters: Mapping[str, float], required: Sequence[str], options: Mapping[str, float]
) -> dict[str, float]:
    """All numbers that a simulation depends on: what was drawn, and for the others the value that holds for all.

    Args:
        solver: its name, for messages.
        parameters: as the framework hands them to `solve`.
        required: names of parameters that have to be there.
        options: values by name; a parameter of the same name takes the place of one.

    Raises:
        ValueError: a parameter that is missing or unknown, or a number that is not finite.
    """
    if not set(required) <= set(parameters) <= {*required, *options}:
        also = f"; {', '.join(options)} may be parameters too" if options else ""
        raise ValueError(
            f"{solver} received the parameters {', '.join(sorted(parameters)) or '(none)'}: give {', '.join(required)}"
            f"{also}"
        )
    numbers = {name: float(value) for name, value in {**options, **parameters}.items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{solver} received {name} = {value}: it must be a finite number")
    return numbers


def require_positive(**numbers: float) -> None:
    """Refuse what is not a finite number above 0; the keywords are the names that the message gives.

    Raises:
        ValueError: there is one.
    """
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}: it must be a positive number")


def require_not_negative(**numbers: float) -> None:
    """Refuse what is not a finite number from 0 on, as `require_positive` does.

    Raises:
        ValueError: there is one.
    """
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}: it must be 0 or more")


def require_at_least_one(**counts: int) -> None:
    """Refuse counts below 1, as `require_positive` does.

    Raises:
        ValueError: there is one.
    """
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: write 1 or more")
