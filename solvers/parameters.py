"""The numbers that a sampler drew for a simulation, checked."""

import math
from collections.abc import Mapping, Sequence

__all__ = ["read_parameters"]


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
