"""The experiments on a periodic square learn: their one-step error is far below that of "as it was"."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like.client import SerialCommunicator
from melissa_like.solvers import gray_scott2d, navier_stokes2d
from tests.integration.studies import melissa_like


def error_of_persistence(trajectories: list[Any]) -> float:
    """The relative error of predicting that a field stays as it is for a time step."""
    errors = []
    for fields in trajectories:
        changes = np.linalg.norm((fields[1:] - fields[:-1]).reshape(len(fields) - 1, -1), axis=1)
        errors.append(changes / np.linalg.norm(fields[1:].reshape(len(fields) - 1, -1), axis=1))
    return float(np.mean(errors))


def flows(generator: np.random.Generator) -> Any:
    parameters = {
        "viscosity": np.exp(generator.uniform(np.log(1e-3), np.log(3e-3))),
        "forcing_amplitude": generator.uniform(0.5, 2),
        "seed": generator.random(),
    }
    steps = navier_stokes2d.solve(parameters, SerialCommunicator(), grid_size=32, num_steps=30, spin_up=1)
    return np.stack([fields["vorticity"] for _, fields, _ in steps])


def patterns(generator: np.random.Generator) -> Any:
    parameters = {
        "feed": generator.uniform(0.03, 0.045),
        "kill": generator.uniform(0.059, 0.0615),
        "seed": generator.random(),
    }
    steps = gray_scott2d.solve(parameters, SerialCommunicator(), grid_size=32, side=0.5, num_spots=2)
    return np.stack([fields["concentration"].array for _, fields, _ in steps])


EXPERIMENTS: Mapping[str, Callable[[np.random.Generator], Any]] = {
    "icml23_navier_stokes": flows,
    "icml23_gray_scott": patterns,
}


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_server_ranks", [1, 2])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_step_is_predicted_twice_as_well_as_by_persistence(
    tmp_path: Path, experiment: str, num_server_ranks: int
) -> None:
    ran = melissa_like(
        tmp_path / "study",
        f"experiment={experiment}",
        "study.num_simulations=80",
        f"launcher.num_server_ranks={num_server_ranks}",
        timeout_s=500,
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    generator = np.random.default_rng(0)
    trajectories = [EXPERIMENTS[experiment](generator) for _ in range(20)]
    validation = ran.report["validation"]
    assert validation["relative_l2"] < error_of_persistence(trajectories) / 2
    assert len(validation["rollout"]["by_step"]) == len(trajectories[0]) - 1
