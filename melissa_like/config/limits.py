"""What a key of the configuration may be, beyond its type: said once, where the key is declared.

`key` declares a key of a schema's dataclass with its limits; `check` refuses by them, and the reference shows them.
"""

from collections.abc import Sequence
from dataclasses import Field, dataclass, field
from typing import Any

__all__ = ["Limits", "key", "limits_of"]

_LIMITS = "limits"
_UNITS_BY_SUFFIX = {"_s": "seconds", "_bytes": "bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a value must be; null is always allowed where the type has it.

    Attributes:
        unit: of a number; empty if it has none, or if the key's name ends with it.
        choices: the only words that are understood; empty: any.
        least: the smallest number.
        above: numbers must be larger.
        most: the largest number.
    """

    unit: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None

    def allow(self, value: Any) -> bool:
        """Whether a value keeps them."""
        if self.choices and value not in self.choices:
            return False
        # Not the opposite comparisons: nan keeps no limit.
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
        )

    @property
    def words(self) -> str:
        """As in "write 1 or more"; empty if anything goes."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.least is not None:
            return f"{self.least} to {self.most}" if self.most is not None else f"{self.least} or more"
        if self.above is not None:
            return f"a number above {self.above}" + (f", {self.most} at most" if self.most is not None else "")
        return ""


def key(
    default: Any,
    *,
    unit: str = "",
    choices: Sequence[str] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """A key with a plain default and limits; arguments as the attributes of `Limits`."""
    limits = Limits(unit=unit, choices=tuple(choices), least=least, above=above, most=most)
    return field(default=default, metadata={_LIMITS: limits})


def limits_of(declared: Field[Any]) -> Limits:
    """The limits of a key, however it was declared; the unit follows from a name that ends in `_s` or `_bytes`."""
    limits: Limits = declared.metadata.get(_LIMITS, Limits())
    unit = next((unit for suffix, unit in _UNITS_BY_SUFFIX.items() if declared.name.endswith(suffix)), limits.unit)
    return Limits(unit=unit, choices=limits.choices, least=limits.least, above=limits.above, most=limits.most)
