"""heat2d does not depend on the decomposition: 1 rank = 2 ranks = 3 ranks."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.heat2d import solve

MPIEXEC = Path(sys.executable).with_name("mpiexec")
DEADLINE_S = 60
PARAMETERS = {
    "initial_temperature": 300.0,
    "left_temperature": 150.0,
    "right_temperature": 450.0,
    "bottom_temperature": 120.0,
    "top_temperature": 480.0,
}
# 17 rows are shared unevenly by two ranks and by three.
OPTIONS = {"grid_size": 17, "num_steps": 20, "tolerance": 1e-12}
PROGRAM = f"""
import sys
import numpy as np
from mpi4py import MPI
from melissa_like.solvers.heat2d import solve

comm = MPI.COMM_WORLD
steps = [fields["temperature"] for _, fields, _ in solve({PARAMETERS!r}, comm, **{OPTIONS!r})]
blocks = comm.gather(np.stack(steps))
if comm.rank == 0:
    np.savez(sys.argv[1], *blocks)
"""

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(shutil.which(MPIEXEC) is None, reason="needs mpiexec: pip install 'melissa-like[mpi]'"),
]


def mpiexec(num_ranks: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(MPIEXEC), "-n", str(num_ranks), sys.executable, "-m", "mpi4py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_the_same_fields_on_any_number_of_ranks(num_ranks: int, tmp_path: Path) -> None:
    path = tmp_path / "blocks.npz"
    done = mpiexec(num_ranks, "-c", PROGRAM, str(path))
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        blocks = [stored[name] for name in stored.files]
    assert sorted(block.shape[1] for block in blocks) == {2: [8, 9], 3: [5, 6, 6]}[num_ranks]
    alone = SimpleNamespace(rank=0, size=1)
    expected = np.stack([fields["temperature"] for _, fields, _ in solve(PARAMETERS, alone, **OPTIONS)])  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), expected, rtol=1e-10)


def test_it_runs_under_mpiexec_without_a_launcher(tmp_path: Path) -> None:
    plot = tmp_path / "field.png"
    options = ["--grid-size", "8", "--num-steps", "3", "--plot", str(plot)]
    done = mpiexec(2, "-m", "melissa_like.solvers.heat2d", *options)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4, "one rank prints: heading, step 0, step 2, iterations"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_more_ranks_than_rows_ends_the_whole_job() -> None:
    done = mpiexec(3, "-m", "melissa_like.solvers.heat2d", "--grid-size", "2")
    assert done.returncode != 0
    assert "grid_size is 2 but there are 3 ranks" in done.stderr
