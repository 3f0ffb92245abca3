"""gray_scott2d on one rank: against exact solutions, budgets, and itself on finer grids."""

from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.gray_scott2d import solve
from melissa_like.solvers.gray_scott2d.blocks import Block
from melissa_like.solvers.gray_scott2d.reaction_diffusion import ReactionDiffusion, largest_substep
from melissa_like.solvers.gray_scott2d.spots import initial_concentration

# Whatever else a solver asked of the communicator would be an AttributeError: one rank needs no MPI.
ALONE = SimpleNamespace(rank=0, size=1)
PARAMETERS = {"feed": 0.035, "kill": 0.06, "seed": 0.25}


def reaction(initial: FloatArray, *, spacing: float = 1 / 64, time_step: float = 1.0, **changed: float) -> FloatArray:
    """u and v after a time of 50."""
    values = {"feed": 0.04, "kill": 0.06, "u_diffusivity": 2e-5, "v_diffusivity": 1e-5} | changed
    solver = ReactionDiffusion(
        initial,
        Block(ALONE, initial.shape[1]),
        feed=values["feed"],
        kill=values["kill"],
        diffusivities=(values["u_diffusivity"], values["v_diffusivity"]),
        spacing=spacing,
        substep=time_step,
    )
    solver.advance(round(50 / time_step))
    return solver.concentration


def uniform(u: float, v: float) -> FloatArray:
    return np.stack([np.full((8, 8), u), np.full((8, 8), v)])


def wave(grid_size: int) -> FloatArray:
    """One period of u along the diagonal, and no v."""
    y, x = Block(ALONE, grid_size).coordinates()
    u = 0.5 + 0.5 * np.cos(2 * np.pi * (y + x))
    return np.stack([u, np.zeros_like(u)])


def spots(grid_size: int) -> FloatArray:
    y, x = Block(ALONE, grid_size).coordinates()
    return initial_concentration(y, x, seed=0.5, num_spots=3, width=0.1, side=1.0)


def fields(parameters: dict[str, float], **options: float) -> list[FloatArray]:
    items = solve(parameters, ALONE, **options)  # type: ignore[arg-type]
    return [np.asarray(named["concentration"].array) for _, named, _ in items]


def orders(errors: list[float]) -> FloatArray:
    """The order of convergence between each halving and the next."""
    observed: FloatArray = np.log2(np.divide(errors[:-1], errors[1:]))
    return observed


@pytest.mark.parametrize(("u", "v"), [(1.0, 0.0), (0.5, 0.2), (0.25, 0.75)])
def test_uniform_steady_states_stay(u: float, v: float) -> None:
    # Besides u = 1, v = 0: u v = F + k and F (1 − u) = (F + k) v.
    feed, kill = {0.0: (0.04, 0.06), 0.2: (0.04, 0.06), 0.75: (0.1875, 0.0)}[v]
    np.testing.assert_allclose(reaction(uniform(u, v), feed=feed, kill=kill), uniform(u, v), rtol=1e-12)


def test_without_reaction_a_wave_decays_as_the_laplacian_says() -> None:
    size, spacing, time_step, diffusivity = 16, 1 / 16, 2.0, 1e-4
    rate = time_step * diffusivity * 8 / spacing**2 * np.sin(np.pi / size) ** 2
    expected = wave(size)
    expected[0] = 0.5 + (expected[0] - 0.5) * (1 - rate + rate**2 / 2) ** 25
    found = reaction(wave(size), feed=0, kill=0, u_diffusivity=diffusivity, spacing=spacing, time_step=time_step)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_second_order_in_space_against_the_exact_solution_of_diffusion() -> None:
    sizes, diffusivity = [8, 16, 32], 1e-4
    errors = []
    for size in sizes:
        exact = 0.5 + (wave(size)[0] - 0.5) * np.exp(-diffusivity * 8 * np.pi**2 * 50)
        found = reaction(wave(size), feed=0, kill=0, u_diffusivity=diffusivity, spacing=1 / size, time_step=0.25)
        errors.append(float(np.abs(found[0] - exact).max()))
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.15)


def test_second_order_in_space_with_reaction() -> None:
    sizes = [48, 96, 192]
    at_common_points = [
        reaction(spots(size), spacing=1 / size, time_step=0.25)[:, :: size // 48, :: size // 48] for size in sizes
    ]
    coarse, middle, fine = at_common_points
    # Where e(h) = c h², successive differences are in the ratio of 4.
    assert np.log2(np.linalg.norm(coarse - middle) / np.linalg.norm(middle - fine)) == pytest.approx(2.0, abs=0.3)


def test_second_order_in_time() -> None:
    coarse, middle, fine = (reaction(spots(32), spacing=1 / 32, time_step=step) for step in (1.0, 0.5, 0.25))
    assert np.log2(np.linalg.norm(coarse - middle) / np.linalg.norm(middle - fine)) == pytest.approx(2.0, abs=0.2)


def test_diffusion_and_reaction_alone_keep_the_mass() -> None:
    before, after = spots(32), reaction(spots(32), feed=0.0, kill=0.0)
    assert np.abs(after - before).max() > 0.1
    assert after.sum() == pytest.approx(before.sum(), rel=1e-12)


def test_without_a_kill_the_mass_follows_the_feed() -> None:
    feed, before = 0.04, spots(32)
    mean = before.sum(axis=0).mean()
    expected = 1 + (mean - 1) * (1 - feed + feed**2 / 2) ** 50
    assert reaction(before, feed=feed, kill=0.0).sum(axis=0).mean() == pytest.approx(expected, rel=1e-12)


def test_the_pattern_of_a_spot_has_the_symmetries_of_the_square() -> None:
    y, x = Block(ALONE, 32).coordinates()
    bump = np.exp(-(((y - 0.5) ** 2 + (x - 0.5) ** 2) / 0.02))
    initial = np.stack([1 - 0.5 * bump, 0.25 * bump])
    found = reaction(initial, spacing=1 / 32)
    np.testing.assert_allclose(found, found.transpose(0, 2, 1), atol=1e-13)
    np.testing.assert_allclose(found[:, 1:], found[:, :0:-1], atol=1e-13)
    shifted = reaction(np.roll(initial, (5, 9), axis=(1, 2)), spacing=1 / 32)
    np.testing.assert_array_equal(shifted, np.roll(found, (5, 9), axis=(1, 2)))


def test_the_longest_time_step_is_stable_and_a_longer_one_is_not() -> None:
    random = np.random.default_rng(0).uniform(0, 1, (16, 16))
    initial = np.stack([random, np.zeros_like(random)])
    fastest = largest_substep(0.0, 0.0, 1e-3, 1 / 64)
    for factor, bounded in ((1.0, True), (1.3, False)):
        count = round(50 / (factor * fastest)) + 1
        found = reaction(initial, feed=0, kill=0, u_diffusivity=1e-3, time_step=50 / count)
        assert bool(np.abs(found).max() <= 1.0) is bounded


def test_what_is_yielded() -> None:
    items = list(solve(PARAMETERS, ALONE, grid_size=24, side=0.375, num_steps=4, time_step=20.0))
    assert [step for step, _, _ in items] == [0, 1, 2, 3]
    assert [time for _, _, time in items] == [0.0, 20.0, 40.0, 60.0]
    parts = [named["concentration"] for _, named, _ in items]
    arrays = [np.asarray(part.array) for part in parts]
    assert all(part.offset == (0, 0, 0) for part in parts)
    assert all(array.shape == (2, 24, 24) and array.dtype == np.float64 for array in arrays)
    np.testing.assert_array_equal(arrays[0].max(axis=(1, 2)) <= [1.0, 0.25], True)
    with pytest.raises(ValueError, match="read-only"):
        arrays[0][0, 0, 0] = 0.0


def test_the_same_parameters_give_the_same_bits_and_another_seed_another_pattern() -> None:
    first, again, other = (fields(PARAMETERS | {"seed": seed}, num_steps=5) for seed in (0.25, 0.25, 0.26))
    np.testing.assert_array_equal(first, again)
    assert all(np.abs(one - two).max() > 0.1 for one, two in zip(first, other, strict=True))


def test_a_pattern_grows_and_lasts_all_over_the_declared_range() -> None:
    for feed in (0.03, 0.045):
        for kill in (0.059, 0.0615):
            everything = np.stack(fields({"feed": feed, "kill": kill, "seed": 1.0}))
            assert everything.min() > -1e-9
            assert everything.max() < 1 + 1e-9
            assert everything[-1, 1].std() > 0.03


def test_diffusivities_may_be_drawn() -> None:
    drawn = fields(PARAMETERS | {"u_diffusivity": 1e-5}, num_steps=3)
    np.testing.assert_array_equal(drawn, fields(PARAMETERS, u_diffusivity=1e-5, num_steps=3))
    assert np.abs(drawn[-1] - fields(PARAMETERS, num_steps=3)[-1]).max() > 1e-3


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({"feed": 0.03}, {}, "received the parameters feed: give feed, kill, seed; u_diffusivity"),
        (PARAMETERS | {"colour": 1.0}, {}, "received the parameters colour, feed"),
        (PARAMETERS | {"kill": np.nan}, {}, "received kill = nan: it must be a finite number"),
        (PARAMETERS | {"feed": -0.1}, {}, "feed is -0.1: it must be 0 or more"),
        (PARAMETERS, {"side": 0.0}, "side is 0.0"),
        (PARAMETERS, {"time_step": -1.0}, "time_step is -1.0"),
        (PARAMETERS, {"num_steps": 0}, "num_steps is 0: write 1 or more"),
        (PARAMETERS, {"grid_size": 0}, "grid_size is 0"),
        (PARAMETERS, {"num_substeps": 10}, "num_substeps is 10 in a time step of 25; .* give 22 or more, or null"),
        (PARAMETERS, {"num_substeps": 1, "grid_size": 12, "side": 1e6}, r"a substep is stable up to 1\.83: give 14"),
        (PARAMETERS, {"num_substeps": 0}, "num_substeps is 0"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, float], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(parameters, **options)


@pytest.mark.parametrize("v", [1e200, np.nan])
@np.errstate(all="ignore")
def test_concentrations_that_are_not_finite_are_an_error(v: float) -> None:
    with pytest.raises(FloatingPointError, match="the concentrations are not finite at time 50: check feed, kill"):
        reaction(uniform(1.0, v))
