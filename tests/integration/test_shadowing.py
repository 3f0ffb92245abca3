"""Files in the folder where a user works that have the name of something else."""

from pathlib import Path

import pytest

from tests.integration.studies import marked, melissa_like

NAMES = (
    *("signal", "random", "queue", "copy", "types", "enum", "json", "logging", "secrets", "selectors", "tempfile"),
    *("numpy", "torch", "zmq", "msgspec", "yaml", "hydra", "rich", "scipy", "mpi4py", "matplotlib", "safetensors"),
)


@pytest.mark.mpi
def test_they_break_neither_launcher_nor_server_rank_nor_solver(tmp_path: Path) -> None:
    for name in NAMES:
        if name != "types":  # `python -m`, by which the tests start the launcher, needs it before anything of ours runs
            (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')\n")
    (tmp_path / "mine.py").write_text("import copy\n\nfrom tests.plugins.solvers import marked as solve\n")
    ran = melissa_like(tmp_path / "study", *marked(ranks=2), "solver.solve._target_=mine.solve")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["delivered"] == 8 * 6
