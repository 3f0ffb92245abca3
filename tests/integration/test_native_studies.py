"""A whole study of a solver in C: the audit of the Python solvers, and what is told of its mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.integration.compiled import MPICC, NATIVE, C, needs, run
from tests.integration.studies import ROOT, Ran, marked, melissa_like
from tests.integration.test_audit import COLUMNS, ROWS, recorded
from tests.plugins.solvers import marks

pytestmark = [needs(MPICC), pytest.mark.mpi]


def study_of(folder: Path, mode: str, *overrides: str) -> Ran:
    """A study of marked.c on two ranks."""
    sources: Sequence[Path] = [ROOT / "tests" / "plugins" / "marked.c", NATIVE / "melissa_like.c"]
    run([MPICC, *C, "-DML_WITH_MPI", f"-I{NATIVE}", *sources, "-lzmq", "-lm", "-o", "marked"], folder)
    of_python = [override for override in marked(ranks=2) if "solver.solve" not in override]
    command = f"solver.command=[{folder / 'marked'},{mode}]"
    return melissa_like(folder / "study", *of_python, command, *overrides, timeout_s=60)


@pytest.mark.slow
def test_every_sample_is_trained_on_and_none_is_mixed(tmp_path: Path) -> None:
    ran = study_of(
        tmp_path,
        "persistent",
        "transport.encryption=all",
        "launcher.num_server_ranks=2",
        "buffer=fifo",
        "training.loss._target_=tests.plugins.losses.recording_mse",
        f"+training.loss.folder={tmp_path}",
        "+training.loss.scale=1000.0",
    )
    assert ran.code == 0, ran.err
    targets = recorded(tmp_path)
    seen = [divmod(int(target[0, 0]) // 32, 10) for target in targets]
    for (simulation, step), target in zip(seen, targets, strict=True):
        np.testing.assert_array_equal(target, marks(simulation, step, ROWS, COLUMNS))
    assert sorted(seen) == [(simulation, step) for simulation in range(8) for step in range(6)]
    assert ran.report["samples"]["lost"] == 0
    assert (ran.report["refused"], ran.report["refused_control_messages"]) == ({}, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("gap", "the ranks have sent 16 elements of field 'mark', which has 32: nothing came for the box at (4, 0)"),
        ("crashes", "simulations failed 2 times"),
    ],
)
def test_a_mistake_is_the_reason_of_the_report(tmp_path: Path, mode: str, told: str) -> None:
    ran = study_of(tmp_path, mode, "launcher.max_attempts=2")
    assert ran.report["outcome"] == "failed", ran.out
    assert told in ran.report["reason"]
