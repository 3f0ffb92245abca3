"""Parameters depend on the seed and the simulation alone, and follow their distributions."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from melissa_like.errors import ConfigurationError
from melissa_like.records import Purpose
from melissa_like.sampling import (
    Choice,
    Distribution,
    Halton,
    LatinHypercube,
    LogUniform,
    MonteCarlo,
    ParameterList,
    Sobol,
    TruncatedNormal,
    Uniform,
    parameter_source,
)

DISTRIBUTIONS: dict[str, Distribution] = {"a": Uniform(low=-1, high=3), "b": LogUniform(low=0.01, high=100)}
DESIGNS = [MonteCarlo, LatinHypercube, Halton, Sobol]


@pytest.mark.parametrize("design", DESIGNS)
def test_a_draw_depends_on_seed_and_simulation_only(design: type) -> None:
    one = design(DISTRIBUTIONS, num_simulations=40, seed=3)
    forwards = [one.draw(index) for index in range(40)]
    other = design(DISTRIBUTIONS, num_simulations=40, seed=3)
    assert [other.draw(index) for index in reversed(range(40))] == forwards[::-1]
    assert design(DISTRIBUTIONS, num_simulations=40, seed=4).draw(0) != forwards[0]
    assert len({tuple(values.values()) for values in forwards}) == 40


@pytest.mark.parametrize("design", [MonteCarlo, Halton, Sobol])
def test_a_longer_study_begins_with_the_shorter_one(design: type) -> None:
    short = design(DISTRIBUTIONS, num_simulations=10, seed=1)
    long = design(DISTRIBUTIONS, num_simulations=500, seed=1)
    assert [short.draw(index) for index in range(10)] == [long.draw(index) for index in range(10)]


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_cover_the_ranges_uniformly(design: type) -> None:
    made = design(DISTRIBUTIONS, num_simulations=512, seed=0)
    draws = [made.draw(index) for index in range(512)]
    a = np.array([draw["a"] for draw in draws])
    b = np.array([draw["b"] for draw in draws])
    assert stats.kstest((a + 1) / 4, "uniform").pvalue > 1e-3
    assert stats.kstest((np.log10(b) + 2) / 4, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(a, np.log(b))[0, 1]) < 0.2


def test_a_latin_hypercube_has_one_simulation_in_each_slice() -> None:
    made = LatinHypercube({"a": Uniform(low=0, high=1)}, num_simulations=50, seed=0)
    assert sorted(int(50 * made.draw(index)["a"]) for index in range(50)) == list(range(50))


@pytest.mark.parametrize(
    ("distribution", "reference"),
    [
        (Uniform(low=2, high=5), stats.uniform(2, 3)),
        (LogUniform(low=0.1, high=10), stats.loguniform(0.1, 10)),
        (TruncatedNormal(mean=1, std=2, low=0, high=4), stats.truncnorm(-0.5, 1.5, loc=1, scale=2)),
    ],
)
def test_distributions_are_the_inverse_of_their_cumulative_function(
    distribution: Distribution, reference: object
) -> None:
    u = np.linspace(0.001, 0.999, 50)
    values = distribution.ppf(u)
    np.testing.assert_allclose(reference.cdf(values), u, atol=1e-9)  # type: ignore[attr-defined]
    low, high = distribution.bounds
    assert np.all((values >= low) & (values <= high))


def test_a_choice_takes_each_value_alike() -> None:
    u = (np.arange(900) + 0.5) / 900
    values, counts = np.unique(Choice(values=[3.0, 1.0, 2.0]).ppf(u), return_counts=True)
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert counts.tolist() == [300, 300, 300]
    assert Choice(values=[3.0, 1.0]).bounds == (1.0, 3.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(low=5, high=2), "low 5 and high 2"),
        (lambda: Uniform(low=0, high=float("inf")), "both finite"),
        (lambda: LogUniform(low=0, high=1), "above 0"),
        (lambda: TruncatedNormal(mean=0, std=0, low=0, high=1), "std must be above 0"),
        (lambda: Choice(values=[]), "at least one"),
    ],
)
def test_distributions_that_cannot_be_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_list_gives_its_lines_in_order_whatever_the_columns_order(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "b, a\n1.5, 2\n3, 4e1\n")
    made = ParameterList(DISTRIBUTIONS, num_simulations=2, seed=0, path=path)
    assert [made.draw(0), made.draw(1)] == [{"b": 1.5, "a": 2.0}, {"b": 3.0, "a": 40.0}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "parameters for 1 simulations"),
        ("a,c\n1,2\n1,2\n", "has the columns a, c"),
        ("a,b\n1,2\n1,two\n", "line 3: b is 'two'"),
        ("a,b\n1,2\n1\n", "line 3: b is None"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ParameterList(DISTRIBUTIONS, num_simulations=2, seed=0, path=write(tmp_path / "list.csv", text))


def test_held_out_simulations_stay_the_same_when_the_study_changes() -> None:
    def held_out(design: type, num_simulations: int) -> list[dict[str, float]]:
        source = parameter_source(
            distributions=DISTRIBUTIONS,
            design_factory=design,
            num_simulations=num_simulations,
            num_validation_simulations=3,
            seed=7,
        )
        assert source.purpose(num_simulations) is Purpose.VALIDATION
        assert source.purpose(num_simulations - 1) is Purpose.TRAINING
        return [source.draw(num_simulations + index) for index in range(3)]

    assert held_out(MonteCarlo, 10) == held_out(Sobol, 100)
