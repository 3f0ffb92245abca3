"""Which parameters a simulation gets: designs of experiments over scipy.stats.qmc.

A design depends on (seed, index) only, so a simulation that is run again is the same simulation, whatever ran before.

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
from melissa_like.sampling.distributions import Distribution

if TYPE_CHECKING:
    from scipy.stats import qmc

__all__ = ["Design", "Halton", "LatinHypercube", "MonteCarlo", "ParameterList", "Sobol"]


class Design(Protocol):
    """Parameters by the number of the simulation."""

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of simulation `index`, by name."""
        ...


def _values(distributions: Mapping[str, Distribution], u: FloatArray) -> dict[str, float]:
    return {
        name: float(distribution.ppf(u[column : column + 1])[0])
        for column, (name, distribution) in enumerate(distributions.items())
    }


class MonteCarlo:
    """Independent draws; a simulation's do not depend on how many there are."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        self._distributions = dict(distributions)
        self._seed = seed

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of simulation `index`."""
        generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(index,)))
        return _values(self._distributions, generator.random(len(self._distributions)))


class _Points:
    """The points of a quasi-random sequence, computed in blocks of powers of two when first asked for."""

    def __init__(self, engine: "type[qmc.QMCEngine]", num_dimensions: int, seed: int) -> None:
        self._engine = engine(num_dimensions, scramble=True, rng=np.random.default_rng(seed))
        self._points = np.empty((0, num_dimensions))

    def __getitem__(self, index: int) -> FloatArray:
        while index >= len(self._points):
            more = max(64, len(self._points))
            self._points = np.concatenate([self._points, self._engine.random(more)])
        point: FloatArray = self._points[index]
        return point


class Halton:
    """The scrambled Halton sequence; a simulation's point does not depend on how many there are."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        from scipy.stats import qmc

        self._distributions = dict(distributions)
        self._points = _Points(qmc.Halton, len(self._distributions), seed)

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of simulation `index`."""
        return _values(self._distributions, self._points[index])


class Sobol:
    """The scrambled Sobol' sequence: best balanced where the number of simulations is a power of two."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        from scipy.stats import qmc

        self._distributions = dict(distributions)
        self._points = _Points(qmc.Sobol, len(self._distributions), seed)

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of simulation `index`."""
        return _values(self._distributions, self._points[index])


class LatinHypercube:
    """One simulation in each of `num_simulations` equal slices of every parameter: another number, another design."""

    def __init__(self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int) -> None:
        from scipy.stats import qmc

        self._distributions = dict(distributions)
        engine = qmc.LatinHypercube(len(self._distributions), rng=np.random.default_rng(seed))
        self._points = engine.random(num_simulations)

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of simulation `index`."""
        return _values(self._distributions, self._points[index])


class ParameterList:
    """Parameters from a CSV file: a header with their names in any order, then one line per simulation.

    Raises:
        ConfigurationError: the file cannot be read or does not hold the parameters of every simulation.
    """

    def __init__(
        self, distributions: Mapping[str, Distribution], *, num_simulations: int, seed: int, path: str
    ) -> None:
        self._rows = _read(Path(path), set(distributions))
        if len(self._rows) < num_simulations:
            raise ConfigurationError(
                f"{path} has parameters for {len(self._rows)} simulations, study.num_simulations is {num_simulations}: "
                "add lines or lower the number"
            )

    def draw(self, index: int) -> dict[str, float]:
        """The parameters of line `index`, the first after the header being 0."""
        return dict(self._rows[index])


def _read(path: Path, expected: set[str]) -> list[dict[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream, skipinitialspace=True)
            names = set(lines.fieldnames or ())
            if names != expected:
                raise ConfigurationError(
                    f"{path} has the columns {', '.join(sorted(names)) or '(none)'}, solver.parameters declares "
                    f"{', '.join(sorted(expected))}: the header must name exactly these"
                )
            return [_row(path, lines.line_num, line) for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): give the path of a CSV file") from None


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
