"""The Lorenz attractor: against scipy, its fixed points, and what is exact of it."""

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import solve_ivp

from melissa_like.solvers.lorenz import solve

ALONE = SimpleNamespace(size=1)
CLASSICAL = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3, "initial_x": 1.0, "initial_y": -3.0, "initial_z": 20.0}
FloatArray = npt.NDArray[np.float64]


def trajectory(changed: dict[str, float] | None = None, **options: float) -> FloatArray:
    return np.stack([fields["state"] for _, fields, _ in solve(CLASSICAL | (changed or {}), ALONE, **options)])  # type: ignore[arg-type]


def reference(parameters: dict[str, float], times: FloatArray) -> FloatArray:
    sigma, rho, beta, *initial = parameters.values()

    def slope(_: float, state: FloatArray) -> list[float]:
        x, y, z = state
        return [sigma * (y - x), x * (rho - z) - y, x * y - beta * z]

    solved = solve_ivp(slope, (0, times[-1]), initial, "DOP853", t_eval=times, rtol=1e-13, atol=1e-13)
    return np.asarray(solved.y.T)


@pytest.mark.parametrize("changed", [{}, {"sigma": 8.0, "rho": 32.0, "beta": 2.0, "initial_x": 15.0}])
def test_it_follows_the_trajectory_of_scipy(changed: dict[str, float]) -> None:
    exact = reference(CLASSICAL | changed, np.arange(151) * 0.02)
    np.testing.assert_allclose(trajectory(changed, num_steps=151), exact, atol=2e-3)
    np.testing.assert_allclose(trajectory(changed, num_steps=151, num_substeps=40), exact, atol=2e-8)


def test_fourth_order_in_time() -> None:
    exact = reference(CLASSICAL, np.arange(26) * 0.02)[-1]
    errors = [
        float(np.abs(trajectory(num_steps=26, num_substeps=number)[-1] - exact).max()) for number in (2, 4, 8, 16)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 4.0, atol=0.25)


@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_what_rests_stays(sign: float) -> None:
    rho, beta = CLASSICAL["rho"], CLASSICAL["beta"]
    x = sign * np.sqrt(beta * (rho - 1))
    rest = {"initial_x": x, "initial_y": x, "initial_z": abs(sign) * (rho - 1)}
    np.testing.assert_allclose(trajectory(rest, num_steps=20), np.tile(list(rest.values()), (20, 1)), atol=1e-9)


def test_on_the_axis_it_decays_by_beta() -> None:
    axis = trajectory({"initial_x": 0.0, "initial_y": 0.0}, num_steps=51)
    np.testing.assert_allclose(axis[:, 2], 20.0 * np.exp(-CLASSICAL["beta"] * np.arange(51) * 0.02), rtol=1e-8)
    assert not axis[:, :2].any()


def test_below_a_rho_of_one_the_origin_attracts() -> None:
    assert np.abs(trajectory({"rho": 0.5}, num_steps=1500)[-1]).max() < 1e-4


def test_the_mirror_image_is_a_trajectory() -> None:
    mirrored = trajectory({"initial_x": -1.0, "initial_y": 3.0}, num_steps=500)
    np.testing.assert_array_equal(mirrored * [-1, -1, 1], trajectory(num_steps=500))


def test_what_is_yielded() -> None:
    items = list(solve(CLASSICAL, ALONE, num_steps=3, time_step=0.5, num_substeps=100))
    assert [step for step, _, _ in items] == [0, 1, 2]
    assert [time for _, _, time in items] == [0.0, 0.5, 1.0]
    assert [list(fields) for _, fields, _ in items] == [["state"]] * 3
    np.testing.assert_array_equal(items[0][1]["state"], [1.0, -3.0, 20.0])
    assert items[1][1]["state"].shape == (3,)


def test_a_simulation_that_is_run_again_has_the_same_bits() -> None:
    assert trajectory(num_steps=500).tobytes() == trajectory(num_steps=500).tobytes()


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"gamma": 1.0}, {}, "received the parameters .*gamma.*give sigma, rho"),
        ({"rho": np.inf}, {}, "must be a finite number"),
        ({}, {"time_step": 0.0}, "time_step is 0.0: it must be a positive number"),
        ({}, {"num_steps": 0}, "num_steps is 0: write 1 or more"),
        ({}, {"num_substeps": 0}, "num_substeps is 0: write 1 or more"),
    ],
)
def test_mistakes_are_named(changed: dict[str, float], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trajectory(changed, **options)


def test_several_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="lorenz was started on 2 ranks and runs on one"):
        next(solve(CLASSICAL, SimpleNamespace(size=2)))


def test_a_state_that_grows_beyond_all_bounds_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="shorten time_step"):
        trajectory(time_step=5.0, num_substeps=1)
