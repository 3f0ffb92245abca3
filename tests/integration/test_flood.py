"""A live study is flooded with what is not of it, from within and from without: it goes on, and takes nothing of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.integration.studies import marked, melissa_like
from tests.integration.test_audit import COLUMNS, ROWS, recorded
from tests.plugins.solvers import marks

WRONG = "a connection with a wrong key or secret"
STRANGE = "a connection that ended before it had shown a key or secret"


@pytest.mark.parametrize(
    ("num_frames", "simulations", "encryption"),
    [
        (20_000, 100, "control"),
        pytest.param(100_000, 300, "none", marks=pytest.mark.slow),
        pytest.param(1_000_000, 3_000, "control", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_a_flood_of_foreign_frames(tmp_path: Path, num_frames: int, simulations: int, encryption: str) -> None:
    ran = melissa_like(
        tmp_path / "study",
        *marked("flooding", simulations=simulations, num_frames=num_frames, seed=1),
        "solver.solve._target_=tests.plugins.flood.flooding",
        f"+solver.parameters.number.high={simulations}",
        f"transport.encryption={encryption}",
        "buffer=fifo",
        "launcher.max_jobs=2",
        "training.loss._target_=tests.plugins.losses.recording_mse",
        f"+training.loss.folder={tmp_path}",
        "+training.loss.scale=1000.0",
        timeout_s=500.0,
    )
    assert ran.code == 0, ran.err
    logs = "".join(path.read_text() for path in (tmp_path / "study" / "logs").glob("job-*.log"))
    assert re.search(rf"{num_frames} frames in", logs), "the flood did not come to its end"
    seen = set()
    for target in recorded(tmp_path):
        simulation, step = divmod(int(target[0, 0]) // 32, 10)
        np.testing.assert_array_equal(target, marks(simulation, step, ROWS, COLUMNS))
        seen.add((simulation, step))
    assert seen == {(simulation, step) for simulation in range(simulations) for step in range(6)}
    report = ran.report
    samples = report["samples"]
    expected = 6 * simulations
    assert (samples["delivered"], samples["trained_on"], samples["duplicates_dropped"]) == (expected, expected, 0)
    assert report["simulations"]["restarted"] == 0
    # Of a frame that is refused there is a count; what still waited when the study ended was not read.
    least = num_frames // 20
    for refused in (report["refused"], report["refused_control_messages"]):
        assert {WRONG, STRANGE} <= refused.keys()
        assert sum(refused.values()) > least
        assert len(refused) < 30
