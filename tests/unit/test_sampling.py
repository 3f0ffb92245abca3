"""Parameters depend on the seed and the simulation alone, and follow their distributions."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from melissa_like.errors import ConfigurationError
from melissa_like.records import Purpose
from melissa_like.sampling import (
    Choice,
    DesignSampler,
    Distribution,
    Halton,
    LatinHypercube,
    LogUniform,
    MonteCarlo,
    ParameterList,
    Sobol,
    StudySamplers,
    TruncatedNormal,
    Uniform,
    make_distributions,
    try_distributions,
    try_samplers,
)

DISTRIBUTIONS: dict[str, Distribution] = {"a": Uniform(low=-1, high=3), "b": LogUniform(low=0.01, high=100)}
DESIGNS = [MonteCarlo, LatinHypercube, Halton, Sobol]


@pytest.mark.parametrize("design", DESIGNS)
def test_a_draw_depends_on_seed_and_simulation_only(design: type) -> None:
    one = design(DISTRIBUTIONS, num_simulations=40, seed=3)
    together = one.draw(0, 40)
    other = design(DISTRIBUTIONS, num_simulations=40, seed=3)
    backwards = [other.draw(index, 1) for index in reversed(range(40))]
    np.testing.assert_array_equal(np.concatenate(backwards)[::-1], together)
    assert (design(DISTRIBUTIONS, num_simulations=40, seed=4).draw(0, 1) != together[0]).all()
    assert len(np.unique(together, axis=0)) == 40


@pytest.mark.parametrize("design", [MonteCarlo, Halton, Sobol])
def test_a_longer_study_begins_with_the_shorter_one(design: type) -> None:
    short = design(DISTRIBUTIONS, num_simulations=10, seed=1)
    long = design(DISTRIBUTIONS, num_simulations=500, seed=1)
    np.testing.assert_array_equal(short.draw(0, 10), long.draw(0, 10))


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_cover_the_ranges_uniformly(design: type) -> None:
    made = design(DISTRIBUTIONS, num_simulations=512, seed=0)
    a, b = made.draw(0, 512).T
    assert stats.kstest((a + 1) / 4, "uniform").pvalue > 1e-3
    assert stats.kstest((np.log10(b) + 2) / 4, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(a, np.log(b))[0, 1]) < 0.2


def test_a_latin_hypercube_has_one_simulation_in_each_slice() -> None:
    made = LatinHypercube({"a": Uniform(low=0, high=1)}, num_simulations=50, seed=0)
    assert sorted((50 * made.draw(0, 50)[:, 0]).astype(int)) == list(range(50))


def test_simulations_beyond_a_latin_hypercube_are_a_second_one() -> None:
    made = LatinHypercube({"a": Uniform(low=0, high=1)}, num_simulations=50, seed=0)
    longer = made.draw(40, 70)[:, 0]
    np.testing.assert_array_equal(longer[:10], made.draw(40, 10)[:, 0])
    assert sorted((50 * longer[10:60]).astype(int)) == list(range(50))
    assert not np.array_equal(longer[10:60], made.draw(0, 50)[:, 0])


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
    path = write(tmp_path / "list.csv", "b, a\n1.5, 2\n3, 4e0\n")
    made = ParameterList(DISTRIBUTIONS, num_simulations=2, seed=0, path=path)
    assert made.draw(0, 5).tolist() == [[2.0, 1.5], [4.0, 3.0]]  # in the order of the distributions; then it ends


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "parameters for 1 simulations"),
        ("a,c\n1,2\n1,2\n", "has the columns a, c"),
        ("a,b\n1,2\n1,two\n", "line 3: b is 'two'"),
        ("a,b\n1,2\n1\n", "line 3: b is None"),
        ("b,a\n1,2\n1,40\n", r"list.csv: a = 40 is far outside of the bounds \(-1, 3\)"),
        ("a,b\n1,2\n1,-101\n", "b = -101 is far outside"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ParameterList(DISTRIBUTIONS, num_simulations=2, seed=0, path=write(tmp_path / "list.csv", text))


def study(training: object, seed: int = 7) -> StudySamplers:
    return StudySamplers(training, DISTRIBUTIONS, seed=seed)  # type: ignore[arg-type]


def test_held_out_simulations_stay_the_same_when_the_study_changes() -> None:
    one, other = (
        study(DesignSampler(design(DISTRIBUTIONS, num_simulations=num, seed=7)))
        for design, num in ((MonteCarlo, 10), (Sobol, 100))
    )
    first = one.next(Purpose.VALIDATION, range(3))
    one.next(Purpose.TRAINING, range(3, 9))
    assert len(first) == 3
    assert [*other.next(Purpose.VALIDATION, range(2)), *other.next(Purpose.VALIDATION, range(2, 3))] == list(first)


def test_a_sampler_along_a_design_goes_on_from_its_state() -> None:
    one, other = (DesignSampler(Halton(DISTRIBUTIONS, num_simulations=9, seed=1)) for _ in range(2))
    one.next(range(4))
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.next(range(4, 6)), other.next(range(4, 6)))


class Fixed:
    """A sampler that gives what it is told to give."""

    def __init__(self, rows: object) -> None:
        self.rows = rows

    def next(self, simulations: range) -> object:
        return self.rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0]], "a row per simulation"),
        ([1.0, 2.0], "a row per simulation"),
        ([[1.0, 2.0]] * 3, "for 2 simulations"),
        ([[1.0, float("nan")]], "not finite"),
        ([["one", "two"]], "could not convert"),
    ],
)
def test_what_are_no_parameters_is_refused(rows: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        study(Fixed(rows)).next(Purpose.TRAINING, range(2))


def test_no_rows_end_the_list() -> None:
    assert study(Fixed([])).next(Purpose.TRAINING, range(2)) == ()


class Odd:
    """A distribution that keeps its contract but for what is changed."""

    def __init__(self, **changes: object) -> None:
        self.bounds = changes.get("bounds", (0.0, 1.0))
        if "ppf" in changes:
            self.ppf = changes["ppf"]
        elif "no_ppf" not in changes:
            self.ppf = lambda u: u


class Unreadable:
    """Its bounds cannot be had."""

    @property
    def bounds(self) -> tuple[float, float]:
        raise RuntimeError("no bounds today")

    def ppf(self, u: np.ndarray) -> np.ndarray:
        return u


def number(**options: object) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"_target_": "numpy.random.uniform", "low": 0, "high": 1},
            "'numpy.random.uniform', which gave a float and",
        ),
        ({"_target_": f"{__name__}.number"}, "gave a float and no distribution: name a class with `bounds` and `ppf`"),
        ({"_target_": "scipy.stats.norm"}, "no distribution"),
        ({"_target_": f"{__name__}.Odd", "no_ppf": True}, "gave a Odd and no distribution"),
        ({"_target_": f"{__name__}.Odd", "ppf": 3}, "no distribution"),
        ({"_target_": f"{__name__}.Odd", "bounds": 3}, "bounds that cannot be read .TypeError"),
        ({"_target_": f"{__name__}.Odd", "bounds": [0, 1, 2]}, "bounds that cannot be read .ValueError"),
        ({"_target_": f"{__name__}.Odd", "bounds": ["a", "b"]}, "bounds that cannot be read"),
        ({"_target_": f"{__name__}.Unreadable"}, "RuntimeError: no bounds today"),
        ({"_target_": f"{__name__}.Odd", "bounds": [1, 0]}, r"has the bounds \(1, 0\): give the lowest"),
        ({"_target_": f"{__name__}.Odd", "bounds": [0, float("inf")]}, "both finite"),
        ({"_target_": f"{__name__}.Odd", "bounds": [float("nan"), 1]}, "both finite"),
        ({"_target_": "melissa_like.sampling.Uniform", "low": 1e299, "high": 1e300}, "computes in float32"),
        ({"_target_": "melissa_like.sampling.Uniform", "low": 1e8, "high": 1e8 + 1}, "knows too few numbers"),
        ({"_target_": "melissa_like.sampling.Uniform", "low": 0, "hihg": 1}, "options hihg .*the nearest: high"),
        ({"_target_": "melissa_like.sampling.Unifrom", "low": 0}, "no 'Unifrom' .the nearest: Uniform"),
        (5, "solver.parameters.a is 5"),
    ],
)
def test_what_is_no_distribution_is_refused_with_its_parameter(spec: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        make_distributions({"a": spec})
    assert "solver.parameters.a" in str(refused.value)


def test_a_parameter_may_have_one_value() -> None:
    made = make_distributions({"a": {"_target_": "melissa_like.sampling.Choice", "values": [3.0]}})
    try_distributions(made)


def _raises(u: np.ndarray) -> np.ndarray:
    raise KeyError("table")


@pytest.mark.parametrize(
    ("ppf", "words"),
    [
        (_raises, "raised KeyError: 'table'"),
        (lambda: 1, "raised TypeError"),
        (lambda u: 0.5, r"values of shape \(\) for 5"),
        (lambda u: u[:, None], r"values of shape \(5, 1\)"),
        (lambda u: None, r"shape \(\)"),
        (lambda u: ["a"] * 5, "raised ValueError"),
        (lambda u: u / 0 if len(u) == 0 else u * np.nan, "not finite"),
        (lambda u: u + 5, r"values from 5.001 to 5.999 but has the bounds \(0, 1\)"),
    ],
)
def test_a_distribution_that_does_not_give_values_is_refused(ppf: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        try_distributions({"a": Odd(ppf=ppf)})  # type: ignore[dict-item]
    assert "solver.parameters.a" in str(refused.value)


class Draws:
    """A sampler that answers what it is told to."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def next(self, simulations: range) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "gave none"),
        ([[1.0, 2.0]], r"array of shape \(1, 2\)"),
        ([1.0], r"array of shape \(1,\)"),
        ([[1.0], [2.0]], "for 1 simulations"),
        ([[float("nan")]], "not finite"),
        ([[5.5]], r"a = 5.5 is far outside of the bounds \(0, 1\) of solver.parameters.a"),
        ([[-1.1]], "far outside"),
        (None, "sampling.design was asked"),
        ([["a"]], "sampling.design was asked"),
        (ZeroDivisionError("by zero"), "it raised ZeroDivisionError: by zero"),
    ],
)
def test_a_sampler_that_does_not_give_parameters_is_refused(answer: object, words: str) -> None:
    distributions = {"a": Uniform(low=0, high=1)}
    samplers = StudySamplers(Draws(answer), distributions, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=words):
        try_samplers(samplers, with_sampler=False)
