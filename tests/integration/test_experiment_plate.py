"""The experiment plate_fem learns on meshes that differ, and holds on a mesh that it has not seen."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skfem", reason="scikit-fem is not installed (the extra `fem`)")

from melissa_like.client import Beginning, SerialCommunicator
from melissa_like.solvers.plate_fem import solve
from melissa_like.training import load_surrogate
from tests.integration.studies import melissa_like

PLATE = {"hole_x": 0.41, "hole_y": 0.58, "radius": 0.13, "tension": 1.2, "shear": -0.3}
#: Always predicting zero has an error of 1.
FAR_BELOW = 0.3


@pytest.mark.slow
def test_displacements_and_stresses_are_learned_on_meshes_that_differ(tmp_path: Path) -> None:
    ran = melissa_like(
        tmp_path / "study",
        "experiment=plate_fem",
        "study.num_simulations=80",
        "study.num_validation_simulations=6",
        "solver.solve.spacing=0.12",
        "model.hidden=32",
        "model.layers=4",
        "buffer.watermark=20",
        "buffer.views_per_sample=60",
        timeout_s=300,
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["lost"] == 0
    assert not ran.report["problems"]
    errors = ran.report["validation"]["relative_l2_by_field"]
    assert errors.keys() == {"displacement", "stress", "peak_stress"}
    assert max(errors.values()) < FAR_BELOW
    assert f"error by field: displacement {100 * errors['displacement']:.2f} %" in ran.out
    assert {path.stem for path in (ran.run_dir / "figures").glob("*.png")} == {*errors, "losses", "population"}

    beginning, step = solve(PLATE, SerialCommunicator(), spacing=0.12)
    assert isinstance(beginning, Beginning)
    assert isinstance(step, tuple)
    predicted = load_surrogate(ran.run_dir / "surrogate").predict(PLATE, step=0, static=beginning.static)
    for name, true in step[1].items():
        assert np.linalg.norm(predicted[name] - true) < FAR_BELOW * np.linalg.norm(true)
