"""The Kuramoto–Sivashinsky equation: growth of small waves, convergence, statistics of the chaos."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.pde1d import kuramoto_sivashinsky
from melissa_like.solvers.pde1d.kuramoto_sivashinsky import KuramotoSivashinsky

ALONE = SimpleNamespace(size=1)
SHORT = {"num_steps": 5, "end_time": 2.0, "length": 22.0, "num_points": 32}


def fields(parameters: dict[str, float], **options: Any) -> FloatArray:
    return np.stack([arrays["u"] for _, arrays, _ in kuramoto_sivashinsky(parameters, ALONE, **options)])


@pytest.mark.parametrize(("wavenumber", "viscosity"), [(2, 1.0), (5, 1.0), (5, 0.5), (7, 1.3)])
def test_a_small_wave_grows_or_decays_as_the_linear_equation_says(wavenumber: int, viscosity: float) -> None:
    length, time = 32.0, 3.0
    k = 2 * np.pi * wavenumber / length
    wave = 1e-9 * np.sin(k * np.arange(64) * length / 64)
    equation = KuramotoSivashinsky(wave, length=length, viscosity=viscosity)
    equation.advance(time)
    np.testing.assert_allclose(equation.field, np.exp((k**2 - viscosity * k**4) * time) * wave, atol=1e-16)


def test_it_converges_in_time_and_space() -> None:
    def end(longest_step: float, num_points: int) -> FloatArray:
        x = np.arange(num_points) * 64.0 / num_points
        initial = np.cos(2 * np.pi * x / 64.0) + np.sin(6 * np.pi * x / 64.0)
        equation = KuramotoSivashinsky(initial, length=64.0, longest_step=longest_step)
        equation.advance(10.0)
        return equation.field

    exact = end(0.00625, 256)
    errors = [float(np.abs(end(longest_step, 256) - exact).max()) for longest_step in (0.1, 0.05, 0.025)]
    assert all(before / after > 8 for before, after in pairwise(errors)), errors
    assert np.abs(end(0.1, 128) - exact[::2]).max() < 5e-4


def test_the_mean_stays_and_the_chaos_has_its_strength() -> None:
    everything = fields({"seed": 0.3}, spin_up=50.0, num_points=96)
    np.testing.assert_allclose(everything.mean(axis=1), 0.0, atol=1e-12)
    assert 1.1 < everything.std() < 1.5
    correlation = np.corrcoef(everything[0], everything[-1])[0, 1]
    assert abs(correlation) < 0.6


def test_a_mean_carries_the_pattern_along() -> None:
    x = np.arange(64) * 32.0 / 64
    initial = np.sin(2 * np.pi * x / 32.0)
    resting, moving = (KuramotoSivashinsky(initial + mean, length=32.0) for mean in (0.0, 2.0))
    resting.advance(16.0)
    moving.advance(16.0)  # in which it moves by 2 × 16, once around
    np.testing.assert_allclose(moving.field, resting.field + 2.0, atol=5e-3)


def test_what_is_yielded() -> None:
    items = list(kuramoto_sivashinsky({"seed": 1.0}, ALONE, **SHORT))  # type: ignore[arg-type]
    assert [step for step, _, _ in items] == [0, 1, 2, 3, 4]
    assert [time for _, _, time in items] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    arrays = [arrays["u"] for _, arrays, _ in items]
    assert all(array.shape == (32,) for array in arrays)
    assert not any(np.shares_memory(arrays[0], array) for array in arrays[1:])


def test_a_spin_up_is_time_before_the_first_step() -> None:
    later = list(kuramoto_sivashinsky({"seed": 1.0}, ALONE, **SHORT | {"num_steps": 3, "spin_up": 2.0}))  # type: ignore[arg-type]
    assert [time for _, _, time in later] == [2.0, 3.0, 4.0]
    np.testing.assert_allclose(later[0][1]["u"], fields({"seed": 1.0}, **SHORT)[-1], atol=1e-9)


def test_a_simulation_that_is_run_again_has_the_same_bits() -> None:
    parameters = {"seed": 0.7, "viscosity": 0.9, "amplitude": 0.3}
    assert fields(parameters, **SHORT).tobytes() == fields(parameters, **SHORT).tobytes()
    assert np.abs(fields(parameters, **SHORT) - fields(parameters | {"seed": 0.8}, **SHORT)).max() > 0.01


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({"viscosity": 1.0}, {}, "received the parameters viscosity: give seed; viscosity, amplitude may"),
        ({"seed": 1.0, "viscosity": 0.0}, {}, "viscosity is 0.0: it must be above 0"),
        ({"seed": 1.0}, {"spin_up": -1.0}, "spin_up is -1.0: it must be 0 or more"),
        ({"seed": 1.0}, {"num_points": 20, "length": 64.0}, "20 points on a length of 64 do not resolve .* write 32"),
        ({"seed": 1.0}, {"num_points": 0}, "0 points on a length"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(parameters, **SHORT | options)


def test_several_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="kuramoto_sivashinsky was started on 3 ranks"):
        next(kuramoto_sivashinsky({"seed": 1.0}, SimpleNamespace(size=3)))


def test_a_field_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="the field is not finite"):
        KuramotoSivashinsky(np.full(32, np.nan), length=22.0).advance(0.1)
