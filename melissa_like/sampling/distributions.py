"""What values a parameter takes: distributions by their inverse cumulative function."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from melissa_like.records import FloatArray

__all__ = ["Choice", "Distribution", "LogUniform", "TruncatedNormal", "Uniform", "far_outside"]


class Distribution(Protocol):
    """Values of one parameter."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value; a network's inputs are normalized with them."""
        ...

    def ppf(self, u: FloatArray) -> FloatArray:
        """Values at cumulative probabilities u in [0, 1), element by element."""
        ...


def far_outside(distributions: Mapping[str, Distribution], rows: FloatArray) -> str | None:
    """The first parameter that is none of its distribution, or None.

    One may lie beyond its bounds, as in the tails of a normal distribution, but not by more than what is between them:
    a network's inputs are scaled by the bounds.

    Args:
        distributions: of the columns, in their order.
        rows: parameters [n, P].
    """
    for column, (name, distribution) in enumerate(distributions.items()):
        low, high = (float(bound) for bound in distribution.bounds)
        slack = (high - low) or 1e-6 * max(1.0, abs(low))
        outside = (rows[:, column] < low - slack) | (rows[:, column] > high + slack)
        if outside.any():
            value = rows[int(np.argmax(outside)), column]
            return (
                f"{name} = {value:g} is far outside of the bounds ({low:g}, {high:g}) of solver.parameters.{name}, by "
                "which the inputs of a network are scaled: correct them, or the values"
            )
    return None


def _check_range(name: str, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{name} distribution has low {low:g} and high {high:g}: low must be below high, both finite")


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every value between `low` and `high` alike.

    Raises:
        ValueError: low is not below high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range("uniform", self.low, self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return (float(self.low), float(self.high))

    def ppf(self, u: FloatArray) -> FloatArray:
        """Linear in u."""
        return self.low + (self.high - self.low) * np.asarray(u, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class LogUniform:
    """Every order of magnitude between `low` and `high` alike.

    Raises:
        ValueError: low is not positive, or not below high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range("log-uniform", self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"log-uniform distribution has low {self.low:g}: write a number above 0")

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return (float(self.low), float(self.high))

    def ppf(self, u: FloatArray) -> FloatArray:
        """Exponential in u."""
        from scipy import stats

        return np.asarray(stats.loguniform.ppf(u, self.low, self.high), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal:
    """A normal distribution cut at `low` and `high`.

    Raises:
        ValueError: low is not below high, or the standard deviation is not positive.
    """

    mean: float
    std: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range("truncated normal", self.low, self.high)
        if not (math.isfinite(self.std) and self.std > 0 and math.isfinite(self.mean)):
            raise ValueError(
                f"truncated normal distribution has mean {self.mean:g} and std {self.std:g}: std must be above 0"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high)."""
        return (float(self.low), float(self.high))

    def ppf(self, u: FloatArray) -> FloatArray:
        """The inverse of the cut normal distribution."""
        from scipy import stats

        a, b = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        values = stats.truncnorm.ppf(u, a, b, loc=self.mean, scale=self.std)
        return np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few numbers, each alike.

    Raises:
        ValueError: no number to choose from.
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) == 0 or not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"choice distribution has values {list(self.values)}: write at least one finite number")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest of the values."""
        return (float(min(self.values)), float(max(self.values)))

    def ppf(self, u: FloatArray) -> FloatArray:
        """The value whose equal share of [0, 1) holds u."""
        count = len(self.values)
        index = np.minimum((np.asarray(u) * count).astype(np.int64), count - 1)
        return np.asarray(self.values, dtype=np.float64)[index]
