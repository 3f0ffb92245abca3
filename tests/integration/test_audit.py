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
    return [
        np.asarray(json.loads(line)).reshape(8, 4)
        for path in folder.glob("targets-*.jsonl")
        for line in path.read_text().splitlines()
    ]


@pytest.mark.mpi
@pytest.mark.parametrize("server_ranks", [1, 2])
@pytest.mark.parametrize("client_ranks", [1, 3])
@pytest.mark.parametrize("buffer", ["fifo", "reservoir"])
def test_every_sample_is_trained_on_and_none_is_mixed(
    tmp_path: Path, buffer: str, client_ranks: int, server_ranks: int
) -> None:
    ran = melissa_like(
        tmp_path / "study",
        *marked(ranks=client_ranks),
        f"buffer={buffer}",
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
    if buffer == "fifo":
        assert len(targets) == 48
