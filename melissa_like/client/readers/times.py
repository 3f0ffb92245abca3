"""The physical time of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from melissa_like.client.readers.fields import Array, Name
from melissa_like.errors import SolverError

__all__ = ["Times"]


@dataclass(frozen=True, slots=True)
class Times:
    """The option `time`: a name in the file, the time from one step number to the next, or a list, step by step.

    Without it the time is the one that the file names tell, or unknown.

    Raises:
        ValueError: something else.
    """

    said: Any = None

    def __post_init__(self) -> None:
        is_list = isinstance(self.said, Sequence) and not isinstance(self.said, str)
        if is_list and all(_is_number(item) for item in self.said):
            return
        if not (self.said is None or isinstance(self.said, str) or _is_number(self.said)):
            raise ValueError(
                f"time is {self.said!r}: write the name of the time in the file, the time between two step numbers, or "
                "a list of times"
            )

    @property
    def names(self) -> tuple[Name, ...]:
        """What must be read from the file for it."""
        return (self.said,) if isinstance(self.said, str) else ()

    def time_of(self, step: int, before: int, found: Mapping[Name, Array], told: float | None = None) -> float | None:
        """The time of a step.

        Args:
            step: its number.
            before: how many steps came before it.
            found: the arrays of `names`, of one value each.
            told: by the file or its name.

        Raises:
            SolverError: more steps than times in the list, or an array that is not one number.
        """
        if self.said is None:
            return told
        if isinstance(self.said, str):
            array = found[self.said]
            if array.size != 1 or array.dtype.kind not in "fiu":
                raise SolverError(
                    f"step {step}: the time {self.said!r} has the shape {array.shape} and the type {array.dtype}: one "
                    "number is needed"
                )
            return float(array.reshape(()))
        if _is_number(self.said):
            return float(self.said * step)
        if before >= len(self.said):
            raise SolverError(
                f"step {step} is the step number {before + 1} that the program has written, but the option time of the "
                f"reader lists {len(self.said)}: list all, or write the time between two steps"
            )
        return float(self.said[before])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
