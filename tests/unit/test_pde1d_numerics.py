"""The combined equation against exact solutions: of its linear limits, of Burgers', of Korteweg and de Vries'."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ETDRK4, ComplexArray
from melissa_like.solvers.pde1d.combined_equation import CombinedEquation
from melissa_like.solvers.pde1d.sines import SumOfSines, draw_sines
from melissa_like.solvers.pde1d.weno import SquareFlux

LENGTH = 16.0
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)


def averages(function: Callable[[FloatArray], FloatArray], num_cells: int, length: float = LENGTH) -> FloatArray:
    """Over each cell, by Gauss' quadrature."""
    centres = (np.arange(num_cells) + 0.5) * length / num_cells
    result: FloatArray = function(centres[:, None] + NODES * length / num_cells / 2) @ WEIGHTS / 2
    return result


def evolved(
    initial: FloatArray, time: float, *, num_calls: int = 10, length: float = LENGTH, **coefficients: float
) -> FloatArray:
    coefficients = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0} | coefficients
    equation = CombinedEquation(initial, length=length, **coefficients)  # type: ignore[arg-type]
    for _ in range(num_calls):
        equation.advance(time / num_calls)
    return equation.averages


def observed_orders(errors: list[float]) -> list[float]:
    return [float(np.log2(before / after)) for before, after in pairwise(errors)]


def test_heat_decays_exactly() -> None:
    k = 2 * np.pi * 3 / LENGTH
    initial = averages(lambda x: np.sin(k * x + 0.3), 40)
    np.testing.assert_allclose(evolved(initial, 2.0, beta=0.4), np.exp(-0.4 * k**2 * 2.0) * initial, atol=1e-13)


def test_dispersion_moves_each_wave_at_its_own_speed() -> None:
    k, gamma = 2 * np.pi * 2 / LENGTH, 0.7
    exact = averages(lambda x: np.cos(k * x + gamma * k**3 * 5.0), 40)
    np.testing.assert_allclose(evolved(averages(lambda x: np.cos(k * x), 40), 5.0, gamma=gamma), exact, atol=1e-13)


def test_a_wave_that_alternates_between_cells_is_not_moved() -> None:
    initial = np.tile([1.0, -1.0], 8)
    np.testing.assert_allclose(evolved(initial, 1.0, gamma=1.0), initial, atol=1e-13)


def test_forced_heat_follows_its_exact_solution() -> None:
    sines = SumOfSines(
        amplitudes=np.array([0.5]),
        frequencies=np.array([0.4]),
        wavenumbers=np.array([2]),
        phases=np.array([0.0]),
        length=LENGTH,
    )
    rate = 0.3 * (2 * np.pi * 2 / LENGTH) ** 2
    equation = CombinedEquation(
        np.zeros(40), length=LENGTH, alpha=0.0, beta=0.3, gamma=0.0, forcing=lambda time: sines.modes(40, time)
    )
    for _ in range(40):
        equation.advance(0.1)
    # Each mode: dv/dt = -rate v + exp(i ω t), so v = (exp(i ω t) - exp(-rate t)) / (i ω + rate).
    factor = (np.exp(0.4j * 4.0) - np.exp(-rate * 4.0)) / (0.4j + rate)
    exact = averages(lambda x: 0.5 * (factor * np.exp(2j * np.pi * 2 * x / LENGTH)).imag, 40)
    np.testing.assert_allclose(equation.averages, exact, atol=1e-9)


def burgers(x: FloatArray, time: float) -> FloatArray:
    """u = u0(x - 2 u t) with u0 = 1 + sin(2π x / L) / 2, before the shock, by Newton's iteration."""
    k = 2 * np.pi / LENGTH
    u = np.ones_like(x)
    for _ in range(30):
        foot = k * (x - 2 * u * time)
        u -= (u - 1 - 0.5 * np.sin(foot)) / (1 + k * time * np.cos(foot))
    return u


def test_fifth_order_before_a_shock() -> None:
    time, sizes = 1.0, (32, 64, 128)
    errors = []
    for num_cells in sizes:  # in steps so short that the error is one of space
        field = evolved(averages(lambda x: burgers(x, 0.0), num_cells), time, num_calls=100, alpha=1.0)
        errors.append(float(np.abs(field - averages(lambda x: burgers(x, time), num_cells)).mean()))
    assert errors[-1] < 1e-6
    assert all(order > 4.5 for order in observed_orders(errors)), observed_orders(errors)


def riemann(x: FloatArray, left: float, right: float, alpha: float, time: float) -> FloatArray:
    """`left` between 4 and 8, `right` elsewhere: a rarefaction spreads from 4, a shock runs from 8."""
    fan = np.clip((x - 4.0) / (2 * alpha * time), right, left)
    return np.where(x < 8.0 + alpha * (left + right) * time, fan, right)


@pytest.mark.parametrize(("left", "right"), [(1.0, 0.0), (1.5, -0.5), (0.5, -0.5)])
def test_a_shock_has_the_right_speed_and_a_rarefaction_spreads(left: float, right: float) -> None:
    alpha, time = 0.8, 1.5
    errors = []
    for num_cells in (160, 320, 640):
        field = evolved(averages(lambda x: riemann(x, left, right, alpha, 1e-12), num_cells), time, alpha=alpha)
        errors.append(float(np.abs(field - averages(lambda x: riemann(x, left, right, alpha, time), num_cells)).mean()))
        assert right - 0.01 < field.min(), "no oscillation"
        assert field.max() < left + 0.01
    assert errors[-1] < 2e-3
    assert all(order > 0.8 for order in observed_orders(errors)), observed_orders(errors)


def test_a_soliton_keeps_its_shape() -> None:
    speed, length, time = 4.0, 20.0, 1.0

    def soliton(x: FloatArray, time: float) -> FloatArray:
        place = (x - 6.0 - speed * time + length / 2) % length - length / 2
        return speed / 2 / np.cosh(np.sqrt(speed) / 2 * place) ** 2

    errors = []
    for num_cells in (128, 256):
        initial = averages(lambda x: soliton(x, 0.0), num_cells, length)
        field = evolved(initial, time, num_calls=50, length=length, alpha=3.0, gamma=1.0)
        errors.append(float(np.abs(field - averages(lambda x: soliton(x, time), num_cells, length)).max()))
    assert errors[-1] < 1e-3
    assert observed_orders(errors)[0] > 4.3


@pytest.mark.parametrize("coefficients", [{"alpha": 1.0}, {"alpha": 3.0, "beta": 0.1, "gamma": 0.5}])
def test_the_integral_stays(coefficients: dict[str, float]) -> None:
    initial = 0.3 + averages(lambda x: np.sin(2 * np.pi * x / LENGTH), 60)
    assert evolved(initial, 3.0, **coefficients).mean() == pytest.approx(0.3, abs=1e-13)


def test_a_mirror_image_stays_one() -> None:
    initial = averages(lambda x: np.sin(2 * np.pi * x / LENGTH) + 0.4 * np.cos(4 * np.pi * x / LENGTH), 60)
    mirrored = evolved(-initial[::-1], 2.0, alpha=1.0, gamma=-0.2)
    np.testing.assert_allclose(mirrored, -evolved(initial, 2.0, alpha=1.0, gamma=0.2)[::-1], atol=1e-12)


@pytest.mark.parametrize("linear", [0.0, -1.0, -10.0, 10.0j])
def test_fourth_order_in_time(linear: complex) -> None:
    def nonlinear(v: ComplexArray, time: float) -> ComplexArray:
        return np.cos(time) - v**2

    def end(num_steps: int) -> complex:
        step = ETDRK4(np.array([linear], dtype=np.complex128), 1.0 / num_steps)
        v = np.array([0.5 + 0j])
        for number in range(num_steps):
            v = step.advance(v, number / num_steps, nonlinear)
        return complex(v[0])

    exact = end(2048)
    errors = [abs(end(num_steps) - exact) for num_steps in (32, 64, 128)]
    assert errors[-1] < 1e-7
    assert all(order > 3.5 for order in observed_orders(errors)), observed_orders(errors)


def test_a_sum_of_sines_has_the_averages_of_its_values() -> None:
    sines = draw_sines(
        np.random.default_rng(3),
        num_waves=5,
        amplitude=0.5,
        largest_frequency=0.4,
        largest_wavenumber=3,
        length=LENGTH,
    )
    assert sines.wavenumbers.min() >= 1
    assert sines.wavenumbers.max() <= 3
    for num_cells in (21, 32):
        quadrature = averages(lambda x: sines.values(x, 1.7), num_cells)
        np.testing.assert_allclose(sines.averages(num_cells, 1.7), quadrature, atol=1e-12)


def test_too_few_cells_for_the_flux_are_refused() -> None:
    with pytest.raises(ValueError, match="a ring of 4 cells: the flux needs 5"):
        SquareFlux(4, 0.1)
