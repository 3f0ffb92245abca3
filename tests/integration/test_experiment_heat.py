"""The experiment icml23_heat learns: its error is far below that of always predicting the mean field."""

from pathlib import Path

import numpy as np
import pytest

from melissa_like.client import SerialCommunicator
from melissa_like.solvers.heat2d import solve
from melissa_like.solvers.heat2d.solve import PARAMETERS
from tests.integration.studies import melissa_like


def error_of_the_mean(*, num_simulations: int = 40, num_steps: int = 100) -> float:
    """The relative error of predicting, at each time step, the mean field of that time step."""
    generator = np.random.default_rng(0)
    fields = np.empty((num_simulations, num_steps, 32, 32))
    for simulation in fields:
        parameters = {name: generator.uniform(100, 500) for name in PARAMETERS}
        for step, values, _ in solve(parameters, SerialCommunicator(), grid_size=32, num_steps=num_steps):
            simulation[step] = values["temperature"]
    errors = np.linalg.norm(fields - fields.mean(axis=0), axis=(2, 3))
    return float(np.mean(errors / np.linalg.norm(fields, axis=(2, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("num_server_ranks", [1, 2])
def test_the_heat_equation_is_learned_from_fresh_simulations(tmp_path: Path, num_server_ranks: int) -> None:
    ran = melissa_like(
        tmp_path / "study",
        "experiment=icml23_heat",
        "study.num_simulations=200",
        f"launcher.num_server_ranks={num_server_ranks}",
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    assert ran.report["validation"]["relative_l2"] < error_of_the_mean() / 2
