"""Each sample is trained on, none is mixed or invented: shown from outside, by fields that say what they are.

The solver writes (simulation, step, row, column) into every cell; a user-supplied loss writes down every target it was
given. Neither looks at a counter of ours.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration.studies import marked, melissa_like
from tests.plugins.solvers import marks

ROWS, COLUMNS = np.mgrid[0:8, 0:4]


def recorded(folder: Path) -> list[np.ndarray]:
    """All targets but those with which the trial was made: marks are whole numbers."""
    targets = [
        np.asarray(json.loads(line)).reshape(8, 4)
        for path in folder.glob("targets-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [target for target in targets if (target == target.round()).all()]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("solver", "client_ranks", "server_ranks", "buffer"),
    [
        ("marked", 1, 1, ["buffer=fifo"]),
        pytest.param("marked", 3, 1, ["buffer=fifo"], marks=pytest.mark.slow),
        pytest.param("marked", 1, 2, ["buffer=fifo"], marks=pytest.mark.slow),
        pytest.param("marked", 3, 2, ["buffer=reservoir", "buffer.views_per_sample=null"], marks=pytest.mark.slow),
        pytest.param("marked", 1, 1, ["buffer=reservoir", "buffer.views_per_sample=null"], marks=pytest.mark.slow),
        ("marked", 3, 1, ["buffer=firo"]),
        ("marked", 3, 2, ["buffer=reservoir", "buffer.views_per_sample=3"]),
        ("uneven", 3, 2, ["buffer=fifo"]),
    ],
)
def test_every_sample_is_trained_on_and_none_is_mixed(
    tmp_path: Path, solver: str, client_ranks: int, server_ranks: int, buffer: list[str]
) -> None:
    ran = melissa_like(
        tmp_path / "study",
        *marked(solver, ranks=client_ranks),
        *buffer,
        f"launcher.num_server_ranks={server_ranks}",
        "launcher.max_jobs=2",
        "training.loss._target_=tests.plugins.losses.recording_mse",
        f"+training.loss.folder={tmp_path}",
        "+training.loss.scale=1000.0",
    )
    assert ran.code == 0, ran.err
    targets = recorded(tmp_path)
    seen = set()
    for target in targets:
        simulation, step = divmod(int(target[0, 0]) // 32, 10)
        np.testing.assert_array_equal(target, marks(simulation, step, ROWS, COLUMNS))
        seen.add((simulation, step))
    assert seen == {(simulation, step) for simulation in range(8) for step in range(6)}
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (48, 48, 48, 0)
    if buffer in (["buffer=fifo"], ["buffer=firo"]):
        assert len(targets) == 48
    if buffer[-1] == "buffer.views_per_sample=3":
        assert len(targets) == 3 * 48
