"""The README's network of a user learns the steps of a solver; the test's own one stands for py-pde's."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.test_readme import block, run

#: The Allen-Cahn equation by explicit steps of finite differences, with numpy alone.
SOLVER = """
import numpy as np


def solve(parameters, comm):
    phase = np.random.default_rng(int(1e9 * parameters["seed"])).uniform(-1, 1, (32, 32))
    for step in range(30):
        for _ in range(10):
            around = sum(np.roll(phase, shift, axis) for shift in (-1, 1) for axis in (0, 1))
            phase = phase + 0.025 * (parameters["width"] * (around - 4 * phase) + phase - phase**3)
        yield step, {"phase": phase}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the README lets a user write, with another solver in the place of py-pde's."""
    (tmp_path / "separation.py").write_text(SOLVER)
    (tmp_path / "own_unet.py").write_text(block("python", "class UNet(nn.Module)"))
    for group, name, words in (("solver", "separation", "name: separation"), ("model", "own", "own_unet.UNet")):
        (tmp_path / "my_configs" / group).mkdir(parents=True)
        (tmp_path / "my_configs" / group / f"{name}.yaml").write_text(block("yaml", words))
    return tmp_path


def simulated(parameters: Mapping[str, float]) -> np.ndarray:
    """All time steps of one simulation."""
    names: dict[str, Any] = {}
    exec(SOLVER, names)
    steps: Iterator[tuple[int, Mapping[str, np.ndarray]]] = names["solve"](parameters, None)
    return np.stack([fields["phase"] for _, fields in steps])


def test_the_page_keeps_its_promise_of_few_lines() -> None:
    pieces = [block("python", "from pde import"), block("yaml", "name: separation"), block("yaml", "own_unet.UNet")]
    assert sum(bool(line.strip()) for piece in pieces for line in piece.splitlines()) <= 25
    network = block("python", "class UNet(nn.Module)")
    assert sum(bool(line.strip()) for line in network.splitlines()) <= 30


@pytest.mark.slow
def test_a_network_of_ones_own_goes_on_from_where_the_solver_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = block("bash", "solver=separation").replace("\\\n", " ").replace('"', "").split()[1:]
    ran = run(folder, *command, "run_dir=runs/mine", "study.num_simulations=24", "buffer.watermark=100")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    assert len(ran.report["validation"]["rollout"]["by_step"]) == 29
    truth = simulated({"width": 1.0, "seed": 0.123})
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"phase": truth[5]}
    exec(block("python", "surrogate.rollout").replace("runs/separation", "runs/mine"), names)
    predicted = names["predicted"]
    assert predicted.shape == (20, 32, 32)
    error = np.linalg.norm(predicted - truth[6:26], axis=(1, 2))
    persistence = np.linalg.norm(truth[5] - truth[6:26], axis=(1, 2))
    assert error.mean() < persistence.mean() / 2
