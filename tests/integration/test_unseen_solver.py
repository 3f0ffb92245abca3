"""Solver processes that nobody may inspect: their parts travel over TCP, and the study is as every other."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.studies import environment, marked

#: Takes CAP_SYS_PTRACE from whatever is started; who is not root has none.
BLIND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 19, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-m", "melissa_like.launcher", *sys.argv[1:]])
"""


@pytest.mark.mpi
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_study_of_solvers_that_must_not_be_inspected(tmp_path: Path, command: str) -> None:
    overrides = marked("unseen", ranks=2, simulations=2)
    if command == "run":
        overrides.append("run_dir=study")
    ran = subprocess.run(
        [sys.executable, "-c", BLIND, command, *overrides],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if command == "run":
        told = [line for line in (tmp_path / "study/logs/server-0.log").read_text().splitlines() if "TCP" in line]
        assert len(told) <= 1  # none where every process may be inspected
        assert "12 expected, 12 delivered" in ran.stdout
