"""heat2d on one rank: against exact solutions of the difference scheme and of the equation."""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.heat2d import solve
from melissa_like.solvers.heat2d.__main__ import main
from melissa_like.solvers.heat2d.heat_equation import Edges, HeatEquation
from melissa_like.solvers.heat2d.rows import RowBlock

# Whatever else a solver asked of the communicator would be an AttributeError: one rank needs no MPI.
ALONE = SimpleNamespace(rank=0, size=1)
COLD = Edges(left=0.0, right=0.0, bottom=0.0, top=0.0)
PARAMETERS = {
    "initial_temperature": 300.0,
    "left_temperature": 150.0,
    "right_temperature": 450.0,
    "bottom_temperature": 200.0,
    "top_temperature": 350.0,
}
LAMBDA = 2 * np.pi**2


def eigenmode(grid_size: int) -> FloatArray:
    sine: FloatArray = np.sin(np.pi * np.arange(1, grid_size + 1) / (grid_size + 1))
    return np.outer(sine, sine)


def decayed(grid_size: int, time_step: float, num_steps: int, diffusivity: float = 1.0) -> FloatArray:
    """The field of the first eigenmode after some steps between cold edges."""
    rows = RowBlock(ALONE, grid_size)
    heat = HeatEquation(eigenmode(grid_size), COLD, rows, time_step=time_step, diffusivity=diffusivity, accuracy=1e-13)
    for _ in range(num_steps):
        heat.advance()
    return heat.temperature


def fields(parameters: dict[str, float], **options: float) -> list[FloatArray]:
    return [arrays["temperature"] for _, arrays, _ in solve(parameters, ALONE, **options)]  # type: ignore[arg-type]


def steady(**changed: float) -> FloatArray:
    """The last of a few steps so long that the field no longer changes."""
    return fields(PARAMETERS | changed, grid_size=31, num_steps=8, time_step=10.0, tolerance=1e-12)[-1]


def observed_orders(errors: list[float]) -> FloatArray:
    """The order of convergence between each halving and the next."""
    orders: FloatArray = np.log2(np.divide(errors[:-1], errors[1:]))
    return orders


def test_an_eigenmode_decays_by_the_eigenvalue_of_backward_euler() -> None:
    grid_size, time_step, diffusivity = 15, 0.01, 2.5
    h = 1 / (grid_size + 1)
    eigenvalue = 8 / h**2 * np.sin(np.pi * h / 2) ** 2
    factor = 1 / (1 + diffusivity * time_step * eigenvalue)
    field = decayed(grid_size, time_step, num_steps=5, diffusivity=diffusivity)
    np.testing.assert_allclose(field, factor**5 * eigenmode(grid_size), rtol=1e-10)


def test_first_order_in_time() -> None:
    grid_size, end = 127, 0.08
    counts = [4, 8, 16]
    exact = np.exp(-LAMBDA * end) * eigenmode(grid_size)
    errors = [float(np.abs(decayed(grid_size, end / count, count) - exact).max()) for count in counts]
    np.testing.assert_allclose(observed_orders(errors), 1.0, atol=0.2)


def test_second_order_in_space() -> None:
    time_step, num_steps = 0.01, 5
    sizes = [7, 15, 31]
    in_time = (1 + time_step * LAMBDA) ** -num_steps
    errors = [float(np.abs(decayed(size, time_step, num_steps) - in_time * eigenmode(size)).max()) for size in sizes]
    np.testing.assert_allclose(observed_orders(errors), 2.0, atol=0.05)


def test_a_square_as_warm_as_its_edges_stays_as_it_is() -> None:
    for field in fields(dict.fromkeys(PARAMETERS, 321.0), num_steps=3):
        np.testing.assert_allclose(field, 321.0, rtol=1e-10)


@pytest.mark.parametrize(
    ("edge", "as_seen_from_the_bottom"),
    [
        ("bottom", lambda field: field),
        ("top", np.flipud),
        ("left", np.transpose),
        ("right", lambda field: np.fliplr(field).T),
    ],
)
def test_the_steady_state_next_to_one_hot_edge_is_the_series(
    edge: str, as_seen_from_the_bottom: Callable[[FloatArray], FloatArray]
) -> None:
    cold = dict.fromkeys(PARAMETERS, 0.0)
    field = as_seen_from_the_bottom(steady(**cold | {f"{edge}_temperature": 100.0}))
    points = np.arange(1, 32) / 32
    y, x = np.meshgrid(points, points, indexing="ij")
    orders = np.arange(1, 60, 2)[:, None, None] * np.pi
    series = (400 / orders * np.sin(orders * x) * np.sinh(orders * (1 - y)) / np.sinh(orders)).sum(axis=0)
    inside = (slice(4, -4), slice(4, -4))  # the corners, where the edge temperature jumps, converge slowly
    np.testing.assert_allclose(field[inside], series[inside], atol=0.2)


def test_the_centre_ends_at_the_mean_of_the_edges_whatever_the_start() -> None:
    mean = (150.0 + 450.0 + 200.0 + 350.0) / 4
    for initial in (100.0, 500.0):
        assert steady(initial_temperature=initial)[15, 15] == pytest.approx(mean, rel=1e-9)


def test_no_point_is_ever_hotter_or_colder_than_what_it_started_from() -> None:
    for time_step in (1e-4, 0.01, 1.0):
        everything = np.stack(fields(PARAMETERS, num_steps=20, time_step=time_step))
        assert everything.min() > 150.0
        assert everything.max() < 450.0


def test_the_tolerance_bounds_the_error_of_a_step() -> None:
    exact = fields(PARAMETERS, num_steps=1, tolerance=1e-13)[0]
    for tolerance in (1e-3, 1e-6, 1e-9):
        error = fields(PARAMETERS, num_steps=1, tolerance=tolerance)[0] - exact
        assert 0 < np.sqrt(np.mean(error**2)) < tolerance * 450.0


def test_what_is_yielded() -> None:
    items = list(solve(PARAMETERS, ALONE, grid_size=9, num_steps=4, time_step=0.02))
    assert [step for step, _, _ in items] == [0, 1, 2, 3]
    assert [time for _, _, time in items] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    arrays = [named["temperature"] for _, named, _ in items]
    assert all(array.shape == (9, 9) and array.dtype == np.float64 for array in arrays)
    assert not np.allclose(arrays[0], 300.0), "the uniform initial field is not a step"
    assert all(np.abs(later - earlier).max() > 1.0 for earlier, later in pairwise(arrays))
    with pytest.raises(ValueError, match="read-only"):
        arrays[0][0, 0] = 0.0


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({"initial_temperature": 300.0}, {}, "give exactly initial_temperature, left_temperature"),
        (PARAMETERS | {"diffusivity": 1.0}, {}, "received the parameters .*diffusivity"),
        (PARAMETERS | {"top_temperature": np.nan}, {}, "must be a finite number"),
        (PARAMETERS, {"grid_size": 0}, "grid_size is 0"),
        (PARAMETERS, {"time_step": 0.0}, "time_step is 0.0"),
        (PARAMETERS, {"diffusivity": -1.0}, "diffusivity is -1.0"),
        (PARAMETERS, {"tolerance": 1e-17}, "tolerance is 1e-17"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, float], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(parameters, **options)


def test_a_field_that_is_not_finite_is_an_error_and_not_an_endless_iteration() -> None:
    heat = HeatEquation(np.full((8, 8), np.nan), COLD, RowBlock(ALONE, 8), time_step=0.01, accuracy=1e-6)
    with pytest.raises(FloatingPointError, match="check that the temperatures are finite"):
        heat.advance()


def test_the_plug_in_is_light() -> None:
    banned = ("mpi4py", "torch", "zmq", "hydra", "matplotlib", "scipy")
    program = f"import sys, melissa_like.solvers.heat2d; print([m for m in {banned!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_it_runs_without_a_launcher(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "melissa_like.solvers.heat2d", "--grid-size", "8", "--num-steps", "21"]
    plot = tmp_path / "field.png"
    done = subprocess.run(
        [*command, "--initial", "400", "--plot", str(plot)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["0", "10", "20"]
    assert "iterations per step" in lines[-1]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_is_refused_before_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("melissa_like.solvers.heat2d.__main__.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        main(["--plot", "field.png"])
