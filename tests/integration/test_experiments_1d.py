"""The experiments on a line, and the Lorenz attractor: far better than fields that stay as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from melissa_like.client import SerialCommunicator
from melissa_like.solvers import lorenz, pde1d
from tests.integration.studies import melissa_like


def error_of_persistence(
    solve: Callable[..., Any],
    bounds: dict[str, tuple[float, float]],
    options: dict[str, Any],
    *,
    history: int = 1,
    bundle: int = 1,
) -> float:
    """The mean relative error if each of the next steps is predicted to be as the last one that is known."""
    generator, errors = np.random.default_rng(0), []
    for _ in range(10):
        parameters = {name: generator.uniform(*pair) for name, pair in bounds.items()}
        steps = [fields for _, fields, _ in solve(parameters, SerialCommunicator(), **options)]
        simulation = np.stack([values.ravel() for each in steps for values in each.values()])
        following = np.moveaxis(sliding_window_view(simulation[history:], bundle, axis=0)[::bundle], -1, 1)
        last = simulation[history - 1 :: bundle][: len(following), None]
        errors.append(np.linalg.norm(following - last, axis=2) / np.linalg.norm(following, axis=2))
    return float(np.mean(errors))


def lorenz_persistence() -> float:
    bounds = {"sigma": (8.0, 12.0), "rho": (24.0, 32.0), "beta": (2.0, 3.3)}
    bounds |= {"initial_x": (-15.0, 15.0), "initial_y": (-15.0, 15.0), "initial_z": (10.0, 40.0)}
    return error_of_persistence(lorenz.solve, bounds, {"num_steps": 500})


def bundle_persistence() -> float:
    return error_of_persistence(
        pde1d.solve, {"seed": (0.0, 1.0), "beta": (0.0, 0.2)}, {"num_steps": 250}, history=25, bundle=25
    )


def mixture_persistence() -> float:
    bounds = {"seed": (0.0, 1.0), "alpha": (0.0, 3.0), "beta": (0.0, 0.4), "gamma": (0.0, 1.0)}
    return error_of_persistence(pde1d.solve, bounds, {"num_steps": 51, "forced": False})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_server_ranks", [1, 2])
@pytest.mark.parametrize(
    ("experiment", "num_simulations", "views", "persistence"),
    [
        ("lorenz", 60, 5, lorenz_persistence),
        ("icml23_pde1d", 120, 4, bundle_persistence),
        ("cape_pde1d", 100, 3, mixture_persistence),
    ],
)
def test_it_is_learned_from_fresh_simulations(
    tmp_path: Path,
    experiment: str,
    num_simulations: int,
    views: int,
    persistence: Callable[[], float],
    num_server_ranks: int,
) -> None:
    # Two ranks share the draws: with twice as many of them they take as many training steps as one.
    ran = melissa_like(
        tmp_path / "study",
        f"experiment={experiment}",
        f"study.num_simulations={num_simulations}",
        "study.num_validation_simulations=4",
        f"launcher.num_server_ranks={num_server_ranks}",
        f"buffer.views_per_sample={views * num_server_ranks}",
        timeout_s=500,
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    validation = ran.report["validation"]
    assert validation["rollout"]["num_simulations"] == 4
    assert validation["relative_l2"] < min(persistence(), validation["rollout"]["persistence"]) / 2
