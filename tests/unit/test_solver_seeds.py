"""Functions from a seed: one float, one function, whatever its size."""

from itertools import combinations

import numpy as np
import pytest

from melissa_like.sampling import LatinHypercube, Uniform
from melissa_like.solvers.seeds import generator, seed_bits


def test_the_same_seed_draws_the_same_numbers() -> None:
    first, again = (generator(0.1234, "initial").standard_normal(16) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_numbers_are_pinned() -> None:
    # A study that is resumed after an upgrade must run the same simulations again.
    assert seed_bits(0.5) == 0x3FE0000000000000
    np.testing.assert_allclose(generator(0.5, "initial").random(2), [0.843164818564219, 0.886003411228817], rtol=1e-15)


def test_neighbouring_floats_and_other_functions_are_other_seeds() -> None:
    seeds = [0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), 0.0, 1.0, 2.0, -1.0, 2.0**53]
    drawn = [generator(seed, "initial").standard_normal(64) for seed in seeds]
    drawn += [generator(0.5, "forcing").standard_normal(64), generator(0.5, "").standard_normal(64)]
    for one, other in combinations(drawn, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.6


def test_a_design_gives_each_simulation_a_seed_of_its_own() -> None:
    design = LatinHypercube({"seed": Uniform(low=0, high=1)}, num_simulations=1000, seed=0)
    bits = {seed_bits(row[0]) for row in design.draw(0, 2000)}
    assert len(bits) == 2000


def test_a_float_and_what_float32_makes_of_it_are_one_seed() -> None:
    for drawn in np.random.default_rng(0).random(100):
        assert seed_bits(float(np.float32(drawn))) == seed_bits(drawn)


def test_minus_zero_is_zero() -> None:
    assert seed_bits(-0.0) == seed_bits(0.0) == 0


@pytest.mark.parametrize("seed", [np.nan, np.inf, -np.inf, 1e39])
def test_a_seed_that_is_no_number_is_refused(seed: float) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        generator(seed, "initial")
