"""navier_stokes2d on one rank: against exact solutions, conservation laws, and itself on finer grids."""

from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.etdrk4 import ComplexArray
from melissa_like.solvers.navier_stokes2d import solve
from melissa_like.solvers.navier_stokes2d.functions import FORCINGS, initial_vorticity
from melissa_like.solvers.navier_stokes2d.slabs import Slabs
from melissa_like.solvers.navier_stokes2d.vorticity import Vorticity

# Whatever else a solver asked of the communicator would be an AttributeError: one rank needs no MPI.
ALONE = SimpleNamespace(rank=0, size=1)
PARAMETERS = {"seed": 0.25}


def grid(size: int) -> tuple[FloatArray, FloatArray]:
    points = np.arange(size) / size
    return points[:, None], points[None, :]


def flow_from(values: FloatArray, forcing: FloatArray | None = None, **options: float) -> Vorticity:
    slabs = Slabs(ALONE, len(values))
    force = np.zeros_like(values) if forcing is None else forcing
    initial, constant = slabs.to_modes(np.stack([values, force]))
    return Vorticity(initial, constant, slabs, **{"viscosity": 0.0, **options})


def random_flow(size: int, **options: float) -> Vorticity:
    slabs = Slabs(ALONE, size)
    initial = initial_vorticity(slabs, seed=0.5, amplitude=1.0, inverse_length=7.0)
    return Vorticity(initial, np.zeros_like(initial), slabs, **{"viscosity": 0.0, **options})


def whole_spectrum(flow: Vorticity) -> tuple[FloatArray, FloatArray]:
    """Squares of the modes, the conjugate ones added, and of their wavenumbers."""
    kx, ky = np.arange(len(flow.modes))[:, None], np.fft.fftfreq(flow.modes.shape[1], 1 / flow.modes.shape[1])[None, :]
    return np.abs(flow.modes) ** 2 * np.where(kx > 0, 2, 1), 4 * np.pi**2 * (kx**2 + ky**2)


def enstrophy(flow: Vorticity) -> float:
    return 0.5 * float(whole_spectrum(flow)[0].sum())


def energy(flow: Vorticity) -> float:
    squares, k2 = whole_spectrum(flow)
    return 0.5 * float((squares / np.where(k2 > 0, k2, np.inf)).sum())


def fields(parameters: dict[str, float], **options: object) -> list[FloatArray]:
    items = solve(parameters, ALONE, **options)  # type: ignore[arg-type]
    return [named["vorticity"] for _, named, _ in items]


@pytest.mark.parametrize("size", [4, 15, 16, 17, 32])
def test_modes_and_points_are_inverse(size: int) -> None:
    slabs = Slabs(ALONE, size)
    y, x = grid(size)
    values = 2.0 + np.cos(2 * np.pi * x) - 3 * np.sin(2 * np.pi * (y - x))
    modes = slabs.to_modes(values[None])
    assert modes[0, 0, 0] == pytest.approx(2.0)
    assert modes[0, 1, 0] == pytest.approx(0.5)
    np.testing.assert_allclose(slabs.to_points(modes)[0], values, atol=1e-13)


def test_a_taylor_green_vortex_decays_exactly() -> None:
    y, x = grid(16)
    vortex = np.cos(4 * np.pi * x) * np.cos(2 * np.pi * y)
    flow = flow_from(vortex, viscosity=0.01, drag=0.3)
    assert flow.advance(2.0) > 1
    np.testing.assert_allclose(flow.points(), np.exp(-2.0 * (0.01 * 20 * np.pi**2 + 0.3)) * vortex, atol=1e-14)


@pytest.mark.parametrize("forcing", ["kolmogorov", "diagonal"])
def test_a_laminar_flow_grows_from_rest_to_its_steady_state(forcing: str) -> None:
    slabs = Slabs(ALONE, 24)
    force = FORCINGS[forcing](slabs, 0.8, 2, 0.0)
    decay = 0.02 * 4 * np.pi**2 * {"kolmogorov": 4, "diagonal": 8}[forcing] + 0.1
    flow = Vorticity(np.zeros_like(force), force, slabs, viscosity=0.02, drag=0.1)
    for _ in range(3):
        flow.advance(0.5)
    crest = 0.8 / decay * (1 - np.exp(-1.5 * decay))
    y, x = grid(24)
    wave = {"kolmogorov": -np.cos(4 * np.pi * y + 0 * x), "diagonal": np.sin(4 * np.pi * (x + y) + np.pi / 4)}
    np.testing.assert_allclose(flow.points(), crest * wave[forcing], atol=1e-14)


def test_a_wave_is_carried_by_a_shear() -> None:
    # u = sin(2π y) / (2π) carries a weak wave: ∂ω/∂t = −u ∂ω/∂x − v ∂Ω/∂y, to first order in its height.
    y, x = grid(32)
    background, height = -np.cos(2 * np.pi * y) + 0 * x, 1e-5
    wave = np.cos(2 * np.pi * (x + 2 * y))
    flow = flow_from(background + height * wave)
    flow.advance(1e-3)
    velocity_y = np.sin(2 * np.pi * (x + 2 * y)) / (2 * np.pi * 5)
    rate = np.sin(2 * np.pi * y) * np.sin(2 * np.pi * (x + 2 * y)) - velocity_y * 2 * np.pi * np.sin(2 * np.pi * y)
    np.testing.assert_allclose((flow.points() - background) / height - wave, 1e-3 * rate, atol=1e-5)


def test_without_viscosity_energy_and_enstrophy_are_kept() -> None:
    flow = random_flow(32)
    before = energy(flow), enstrophy(flow)
    begin = flow.points()
    for _ in range(4):
        flow.advance(0.5, 100)
    assert np.abs(flow.points() - begin).max() > 0.5
    assert (energy(flow), enstrophy(flow)) == pytest.approx(before, rel=1e-9)


def test_energy_is_lost_at_the_rate_of_viscosity_and_drag() -> None:
    viscosity, drag, short = 2e-3, 0.05, 1e-3
    flow = random_flow(32, viscosity=viscosity, drag=drag)
    flow.advance(0.5)
    before = energy(flow)
    flow.advance(short)
    rate = -2 * viscosity * enstrophy(flow) - 2 * drag * energy(flow)
    flow.advance(short)
    assert (energy(flow) - before) / (2 * short) == pytest.approx(rate, rel=1e-5)


def test_fourth_order_in_time() -> None:
    found = []
    for num_substeps in (10, 20, 40):
        flow = random_flow(32, viscosity=1e-3)
        flow.advance(1.0, num_substeps)
        found.append(flow.points())
    coarse, middle, fine = found
    assert np.log2(np.linalg.norm(coarse - middle) / np.linalg.norm(middle - fine)) == pytest.approx(4.0, abs=0.3)


def test_the_error_in_space_falls_faster_than_any_power() -> None:
    sizes = [16, 32, 64]
    found = [fields(PARAMETERS, grid_size=16, refinement=size // 16, viscosity=3e-3, num_steps=5) for size in sizes]
    coarse, fine = (np.linalg.norm(found[index][-1] - found[-1][-1]) for index in (0, 1))
    assert fine < coarse / 2**8


def test_adapting_the_substeps_loses_nothing() -> None:
    adapted = fields(PARAMETERS, num_steps=10)
    exact = fields(PARAMETERS, num_steps=10, num_substeps=100)
    assert np.linalg.norm(adapted[-1] - exact[-1]) < 1e-6 * np.linalg.norm(exact[-1])


def test_random_functions_are_the_same_on_every_grid_and_have_the_amplitude_that_is_asked_for() -> None:
    coarse, fine = (Slabs(ALONE, size) for size in (64, 96))

    def both(slabs: Slabs, seed: float) -> ComplexArray:
        initial = initial_vorticity(slabs, seed=seed, amplitude=2.0, inverse_length=7.0)
        return np.stack([initial, FORCINGS["random"](slabs, 3.0, 4, seed)])

    np.testing.assert_allclose(
        coarse.to_points(both(coarse, 0.5))[:, ::2, ::2], fine.to_points(both(fine, 0.5))[:, ::3, ::3], atol=1e-12
    )
    drawn = np.stack([coarse.to_points(both(coarse, seed)) for seed in range(200)])
    np.testing.assert_allclose(drawn.mean(axis=(2, 3)), 0.0, atol=1e-13)
    assert np.sqrt((drawn[:, 0] ** 2).mean()) == pytest.approx(2.0, rel=0.1)
    assert np.sqrt((drawn[:, 1] ** 2).mean()) == pytest.approx(3.0 / np.sqrt(2), rel=0.05)
    first, second = np.abs(both(coarse, 0.5)[1]) ** 2, np.hypot(coarse.x_wavenumbers, coarse.y_wavenumbers)
    assert (first * second).sum() / first.sum() == pytest.approx(4.0, abs=0.5)


def test_what_is_yielded() -> None:
    items = list(solve(PARAMETERS, ALONE, grid_size=16, num_steps=4, time_step=0.25))
    assert [step for step, _, _ in items] == [0, 1, 2, 3]
    assert [time for _, _, time in items] == [0.0, 0.25, 0.5, 0.75]
    arrays = [named["vorticity"] for _, named, _ in items]
    assert all(array.shape == (16, 16) and array.dtype == np.float64 for array in arrays)
    np.testing.assert_allclose([array.mean() for array in arrays], 0.0, atol=1e-14)
    copies = [array.copy() for array in arrays]
    for _, named, _ in solve(PARAMETERS, ALONE, grid_size=16, num_steps=4, time_step=0.25):
        named["vorticity"][:] = 7.0
    np.testing.assert_array_equal(arrays, copies)


def test_a_spin_up_leaves_the_first_steps_out() -> None:
    whole = list(solve(PARAMETERS, ALONE, grid_size=16, num_steps=6, num_substeps=20))
    later = list(solve(PARAMETERS, ALONE, grid_size=16, num_steps=3, num_substeps=20, spin_up=1.5))
    assert [step for step, _, _ in later] == [0, 1, 2]
    assert [time for _, _, time in later] == [time for _, _, time in whole[3:]]
    for (_, expected, _), (_, found, _) in zip(whole[3:], later, strict=True):
        np.testing.assert_array_equal(found["vorticity"], expected["vorticity"])


def test_the_forcing_is_sent_if_asked_for() -> None:
    options = {"grid_size": 16, "num_steps": 2, "forcing": "random", "send_forcing": True}
    first, later = [named for _, named, _ in solve(PARAMETERS, ALONE, **options)]  # type: ignore[arg-type]
    assert set(first) == {"vorticity", "forcing"}
    np.testing.assert_array_equal(first["forcing"], later["forcing"])
    assert first["forcing"].std() > 0.2


def test_the_same_parameters_give_the_same_bits_and_another_seed_another_flow() -> None:
    first, again, other = (fields({"seed": seed}, num_steps=5) for seed in (0.25, 0.25, 0.26))
    np.testing.assert_array_equal(first, again)
    assert all(np.abs(one - two).max() > 0.5 for one, two in zip(first, other, strict=True))


def test_options_may_be_drawn() -> None:
    drawn = {"viscosity": 3e-3, "forcing_amplitude": 2.0, "drag": 0.1, "initial_amplitude": 0.5}
    np.testing.assert_array_equal(fields(PARAMETERS | drawn, num_steps=4), fields(PARAMETERS, num_steps=4, **drawn))


def test_substeps_that_are_too_long_are_refused_with_a_number_that_works() -> None:
    with pytest.raises(FloatingPointError, match=r"num_substeps is 2 in .* but at a speed of .* give \d+ or more"):
        fields(PARAMETERS, num_substeps=2)


def test_a_field_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="the vorticity is not finite at time 0: give more substeps"):
        flow_from(np.full((16, 16), np.nan)).advance(0.1)


@pytest.mark.parametrize("forcing", ["kolmogorov", "diagonal"])
@np.errstate(all="ignore")
def test_a_flow_that_leaves_all_bounds_in_its_last_step_is_an_error(forcing: str) -> None:
    options = {"initial_amplitude": 0.0, "forcing_amplitude": 1e200, "num_substeps": 1, "forcing": forcing}
    items = solve(PARAMETERS, ALONE, grid_size=16, num_steps=2, time_step=0.25, **options)  # type: ignore[arg-type]
    next(items)
    with pytest.raises(FloatingPointError, match=r"the vorticity is not finite at time 0\.25: give more substeps"):
        next(items)


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({}, {}, r"received the parameters \(none\): give seed; viscosity, drag"),
        (PARAMETERS | {"viscosity": np.inf}, {}, "received viscosity = inf"),
        (PARAMETERS | {"seed": np.nan}, {}, "received seed = nan"),
        (PARAMETERS, {"viscosity": -1.0}, "viscosity is -1.0: it must be 0 or more"),
        (PARAMETERS, {"time_step": 0.0}, "time_step is 0.0"),
        (PARAMETERS, {"num_steps": 0}, "num_steps is 0: write 1 or more"),
        (PARAMETERS, {"spin_up": -1.0}, "spin_up is -1.0"),
        (PARAMETERS, {"num_substeps": 0}, "num_substeps is 0"),
        (PARAMETERS, {"refinement": 0}, "refinement is 0"),
        (PARAMETERS, {"grid_size": 3}, "has 3 points along a side"),
        (PARAMETERS, {"forcing": "wind"}, "forcing is 'wind': write kolmogorov, diagonal, random"),
        (PARAMETERS, {"forcing_wavenumber": 16}, "forcing_wavenumber is 16: write a whole number from 1 to 15"),
        (PARAMETERS, {"grid_size": 96, "forcing": "random", "forcing_wavenumber": 17}, "has at most 16 waves"),
        (PARAMETERS, {"grid_size": 144, "forcing": "random", "forcing_wavenumber": 44}, "forcing_wavenumber is 44: a"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, float], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(parameters, **options)
