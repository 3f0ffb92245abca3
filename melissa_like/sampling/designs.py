"""Which parameters a simulation gets: designs of experiments over scipy.stats.qmc.

A design depends on (seed, number) only, so a simulation that is run again is the same simulation, whatever ran before.
A design of a million points is an array.

scipy is imported by the designs that need it, when they are made: server ranks read the distributions' bounds and would
carry 50 MB for nothing.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from melissa_like.errors import ConfigurationError
from melissa_like.records import FloatArray
from melissa_like.sampling.distributions import Distribution, far_outside

if TYPE_CHECKING:
    from scipy.stats import qmc

__all__ = ["Design", "Halton", "LatinHypercube", "MonteCarlo", "ParameterList", "Sobol"]


class Design(Protocol):
    """Points by number: static, so that a simulation that is run again is the same simulation."""

    def draw(self, first: int, num: int) -> FloatArray:
        """The parameters of the points `first`, `first` + 1, ...

        Returns:
            float64 [k, P], the columns in the order of the distributions, and not far outside of their bounds; fewer
            than `num` rows where the design ends.
        """
        ...


def _values(distributions: Mapping[str, Distribution], u: FloatArray) -> FloatArray:
    """From cumulative probabilities [n, P] to values."""
    columns = [distribution.ppf(u[:, column]) for column, distribution in enumerate(distributions.values())]
    return np.stack(columns, axis=1) if columns else np.empty((len(u), 0))


class MonteCarlo:
    """Independent draws; a simulation's do not depend on how many there are."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        self._distributions = dict(distributions)
        self._seed = seed

    def draw(self, first: int, num: int) -> FloatArray:
        """See `Design.draw`; it has no end."""
        u = np.empty((num, len(self._distributions)))
        for row in range(num):
            generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(first + row,)))
            u[row] = generator.random(len(self._distributions))
        return _values(self._distributions, u)


class _Sequence:
    """A quasi-random sequence, computed in blocks of powers of two when first asked for."""

    def __init__(
        self, engine: "type[qmc.QMCEngine]", distributions: Mapping[str, Distribution], num_simulations: int, seed: int
    ) -> None:
        self._distributions = dict(distributions)
        self._engine = engine(len(self._distributions), scramble=True, rng=np.random.default_rng(seed))
        self._expected = num_simulations
        self._points = np.empty((0, len(self._distributions)))

    def draw(self, first: int, num: int) -> FloatArray:
        """See `Design.draw`; it has no end."""
        while first + num > len(self._points):
            # At once where many are expected: each block is copied to the others.
            more = max(64, len(self._points), 1 << (self._expected - 1).bit_length() if not len(self._points) else 0)
            self._points = np.concatenate([self._points, self._engine.random(more)])
        return _values(self._distributions, self._points[first : first + num])


class Halton(_Sequence):
    """The scrambled Halton sequence; a simulation's point does not depend on how many there are."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        from scipy.stats import qmc

        super().__init__(qmc.Halton, distributions, num_simulations, seed)


class Sobol(_Sequence):
    """The scrambled Sobol' sequence: best balanced where the number of simulations is a power of two."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        from scipy.stats import qmc

        super().__init__(qmc.Sobol, distributions, num_simulations, seed)


class LatinHypercube:
    """One simulation in each of `num_simulations` equal slices of every parameter: another number, another design.

    Simulations beyond that number are a second hypercube, and so on.
    """

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        self._distributions = dict(distributions)
        self._size = num_simulations
        self._seed = seed
        self._number = -1
        self._points = np.empty((0, len(self._distributions)))

    def draw(self, first: int, num: int) -> FloatArray:
        """See `Design.draw`; it has no end."""
        number, start = divmod(first, self._size)
        points = self._cube(number)[start : start + num]
        while len(points) < num:
            number += 1
            points = np.concatenate([points, self._cube(number)[: num - len(points)]])
        return _values(self._distributions, points)

    def _cube(self, number: int) -> FloatArray:
        """A hypercube by its number; the last one is kept."""
        if number != self._number:
            from scipy.stats import qmc

            seed: int | tuple[int, int] = (self._seed, number) if number else self._seed
            engine = qmc.LatinHypercube(len(self._distributions), rng=np.random.default_rng(seed))
            self._points, self._number = engine.random(self._size), number
        return self._points


class ParameterList:
    """Parameters from a CSV file: a header with their names in any order, then one line per simulation.

    Raises:
        ConfigurationError: the file cannot be read, does not hold the parameters of every simulation, or holds values
            far outside of the bounds of their distribution.
    """

    def __init__(
        self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int, path: str
    ) -> None:
        self._rows = _read(Path(path), tuple(distributions))
        if len(self._rows) < num_simulations:
            raise ConfigurationError(
                f"{path} has parameters for {len(self._rows)} simulations, study.num_simulations is {num_simulations}: "
                "add lines or lower the number"
            )
        problem = far_outside(distributions, self._rows)
        if problem is not None:
            raise ConfigurationError(f"{path}: {problem}")

    def draw(self, first: int, num: int) -> FloatArray:
        """See `Design.draw`: the lines from `first`, the first after the header being 0, until the file ends."""
        return self._rows[first : first + num].copy()


def _read(path: Path, expected: tuple[str, ...]) -> FloatArray:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream, skipinitialspace=True)
            names = set(lines.fieldnames or ())
            if names != set(expected):
                raise ConfigurationError(
                    f"{path} has the columns {', '.join(sorted(names)) or '(none)'}, solver.parameters declares "
                    f"{', '.join(sorted(expected))}: the header must name exactly these"
                )
            rows = [_row(path, lines.line_num, line) for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): give the path of a CSV file") from None
    return np.array([[row[name] for name in expected] for row in rows]).reshape(len(rows), len(expected))


def _row(path: Path, number: int, line: Mapping[str, str | None]) -> dict[str, float]:
    row = {}
    for name, text in line.items():
        try:
            value = float(text or "")
        except (TypeError, ValueError):
            value = float("nan")
        if name is None or not np.isfinite(value):
            raise ConfigurationError(f"{path}, line {number}: {name} is {text!r}: write a number")
        row[name] = value
    return row
