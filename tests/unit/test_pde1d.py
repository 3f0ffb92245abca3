"""The plug-in pde1d: the cases of the paper, against a fine computation and for what a study relies on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.pde1d import solve
from melissa_like.solvers.pde1d.combined_equation import CombinedEquation

ALONE = SimpleNamespace(size=1)
SHORT = {"num_points": 20, "num_steps": 6, "end_time": 0.5}


def fields(parameters: dict[str, float], **options: Any) -> FloatArray:
    return np.stack([arrays["u"] for _, arrays, _ in solve(parameters, ALONE, **options)])


@pytest.mark.parametrize(
    ("coefficients", "error"),
    [
        ({}, 5e-3),
        ({"beta": 0.1}, 4e-3),
        ({"alpha": 3.0, "beta": 0.1, "gamma": 0.5}, 4e-3),
        ({"alpha": 1.5, "beta": 0.2, "gamma": 0.05}, 4e-3),
    ],
)
def test_the_cases_are_computed_finely_enough(coefficients: dict[str, float], error: float) -> None:
    options = {"num_steps": 26, "end_time": 2.0}
    parameters = {"seed": 0.25, **coefficients}
    exact = fields(parameters, refinement=6, **options)
    difference = fields(parameters, **options) - exact
    relative = np.linalg.norm(difference, axis=1) / np.linalg.norm(exact, axis=1)
    assert relative[0] < 1e-12
    assert relative.mean() < error


def test_shocks_form_and_the_integral_stays() -> None:
    everything = fields({"seed": 0.25})
    steepest = np.abs(np.diff(everything, axis=1)).max(axis=1)
    assert steepest[-1] > 2 * steepest[0]
    np.testing.assert_allclose(everything.mean(axis=1), 0.0, atol=1e-13)


def test_what_is_yielded() -> None:
    items = list(solve({"seed": 1.0}, ALONE, **SHORT))  # type: ignore[arg-type]
    assert [step for step, _, _ in items] == list(range(6))
    assert [time for _, _, time in items] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    arrays = [arrays["u"] for _, arrays, _ in items]
    assert all(array.shape == (20,) and array.dtype == np.float64 for array in arrays)
    assert not any(np.shares_memory(arrays[0], array) for array in arrays[1:])
    assert 0.05 < np.abs(arrays[0]).max() < 2.5


def test_a_simulation_that_is_run_again_has_the_same_bits() -> None:
    parameters = {"seed": 0.7, "beta": 0.1}
    assert fields(parameters, **SHORT).tobytes() == fields(parameters, **SHORT).tobytes()


def test_another_seed_is_another_function() -> None:
    assert np.abs(fields({"seed": 0.7}, **SHORT)[0] - fields({"seed": 0.7000001}, **SHORT)[0]).max() > 0.01


def test_a_parameter_takes_the_place_of_the_option() -> None:
    np.testing.assert_array_equal(
        fields({"seed": 1.0, "alpha": 0.5, "beta": 0.1}, **SHORT),
        fields({"seed": 1.0}, alpha=0.5, beta=0.1, **SHORT),
    )


def test_the_amplitude_scales_the_function_and_leaves_its_form() -> None:
    small, large = (fields({"seed": 1.0, "amplitude": amplitude}, **SHORT)[0] for amplitude in (0.1, 0.5))
    np.testing.assert_allclose(5 * small, large, atol=1e-14)


def test_without_forcing_diffusion_wins() -> None:
    options = SHORT | {"end_time": 200.0, "alpha": 0.0, "beta": 0.5}
    assert np.abs(fields({"seed": 1.0}, forced=False, **options)[-1]).max() < 1e-4
    assert np.abs(fields({"seed": 1.0}, forced=True, **options)[-1]).max() > 1e-2


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({}, {}, r"received the parameters \(none\): give seed"),
        ({"seed": 1.0, "delta": 1.0}, {}, "received the parameters delta, seed: give seed; alpha, beta"),
        ({"seed": np.nan}, {}, "seed = nan: it must be a finite number"),
        ({"seed": 1.0, "beta": -0.1}, {}, "beta is -0.1: it must be 0 or more"),
        ({"seed": 1.0, "alpha": -1.0}, {}, "alpha is -1.0: it must be 0 or more"),
        ({"seed": 1.0}, {"gamma": np.inf}, "gamma = inf: it must be a finite number"),
        ({"seed": 1.0}, {"num_steps": 0}, "num_steps is 0: write 1 or more"),
        ({"seed": 1.0}, {"end_time": -1.0}, "end_time is -1.0: it must be a positive number"),
        ({"seed": 1.0}, {"length": 0.0}, "length is 0.0: it must be positive"),
        ({"seed": 1.0}, {"num_waves": 0}, "a sum of 0 waves"),
        ({"seed": 1.0}, {"refinement": 0}, "refinement 0: write 1 or more"),
        ({"seed": 1.0}, {"num_points": 3}, "is 6: 3 waves on the ring need more than 6 cells"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(parameters, **options)


def test_several_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="pde1d was started on 2 ranks"):
        next(solve({"seed": 1.0}, SimpleNamespace(size=2)))


def test_a_field_that_is_not_finite_is_an_error() -> None:
    equation = CombinedEquation(np.full(8, np.nan), length=1.0, alpha=1.0, beta=0.0, gamma=0.0)
    with pytest.raises(FloatingPointError, match="the field is not finite at time 0: check the parameters"):
        equation.advance(0.1)


@pytest.mark.parametrize("coefficients", [{}, {"alpha": 3.0, "beta": 0.1, "gamma": 0.5}])
@np.errstate(all="ignore")
def test_a_field_that_leaves_all_bounds_in_its_last_step_is_an_error(coefficients: dict[str, float]) -> None:
    items = solve({"seed": 1.0, "amplitude": 1e160, **coefficients}, ALONE, num_steps=2, end_time=1e-160)
    next(items)
    with pytest.raises(FloatingPointError, match="the field is not finite at time 1e-160: check the parameters"):
        next(items)
