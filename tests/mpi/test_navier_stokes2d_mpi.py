"""navier_stokes2d does not depend on the decomposition: 1 rank = 2 ranks = 3 ranks."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.navier_stokes2d import solve

MPIEXEC = Path(sys.executable).with_name("mpiexec")
DEADLINE_S = 60
PARAMETERS = {"seed": 0.25}
# 23 rows that are sent, of 46, and 16 columns of modes are shared unevenly by two ranks or by three.
OPTIONS = {"grid_size": 23, "refinement": 2, "num_steps": 6, "forcing": "random", "send_forcing": True}
PROGRAM = f"""
import sys
import numpy as np
from mpi4py import MPI
from melissa_like.solvers.navier_stokes2d import solve

comm = MPI.COMM_WORLD
steps = [[fields["vorticity"], fields["forcing"]] for _, fields, _ in solve({PARAMETERS!r}, comm, **{OPTIONS!r})]
blocks = comm.gather(np.array(steps))
if comm.rank == 0:
    np.savez(sys.argv[1], *blocks)
"""

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(shutil.which(MPIEXEC) is None, reason="needs mpiexec: pip install 'melissa-like[mpi]'"),
]


def mpiexec(num_ranks: int, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(MPIEXEC), "-n", str(num_ranks), sys.executable, "-m", "mpi4py", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_the_same_fields_on_any_number_of_ranks(num_ranks: int, tmp_path: Path) -> None:
    path = tmp_path / "blocks.npz"
    done = mpiexec(num_ranks, PROGRAM, str(path))
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        blocks = [stored[name] for name in stored.files]
    assert [block.shape[2] for block in blocks] == {2: [11, 12], 3: [7, 8, 8]}[num_ranks]
    alone = SimpleNamespace(rank=0, size=1)
    items = solve(PARAMETERS, alone, **OPTIONS)  # type: ignore[arg-type]
    expected = [[fields["vorticity"], fields["forcing"]] for _, fields, _ in items]
    np.testing.assert_allclose(np.concatenate(blocks, axis=2), expected, atol=1e-11)


def test_an_unstable_flow_ends_the_whole_job() -> None:
    done = mpiexec(2, PROGRAM.replace("**{", "num_substeps=1, **{"))
    assert done.returncode != 0
    assert done.stderr.count("num_substeps is 1 in a time step of 0.5") == 2, "every rank says it"


def test_a_flow_that_leaves_all_bounds_in_its_last_step_ends_the_whole_job() -> None:
    wild = "num_substeps=1, initial_amplitude=0.0, forcing_amplitude=1e150, **{"
    done = mpiexec(2, PROGRAM.replace("**{", wild).replace("'num_steps': 6", "'num_steps': 2"))
    assert done.returncode != 0
    assert done.stderr.count("the vorticity is not finite at time 0.5") == 2, "every rank says it"
