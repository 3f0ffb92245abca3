"""gray_scott2d does not depend on the decomposition: the same bits on 1, 2, 3 and 4 ranks."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.solvers.gray_scott2d import solve

MPIEXEC = Path(sys.executable).with_name("mpiexec")
DEADLINE_S = 60
PARAMETERS = {"feed": 0.035, "kill": 0.06, "seed": 0.25}
# 23 rows and columns are shared unevenly by two and by three.
OPTIONS = {"grid_size": 23, "side": 0.36, "num_steps": 5}
PROGRAM = f"""
import sys
import numpy as np
from mpi4py import MPI
from melissa_like.solvers.gray_scott2d import solve

comm = MPI.COMM_WORLD
parts = [fields["concentration"] for _, fields, _ in solve({PARAMETERS!r}, comm, **{OPTIONS!r})]
blocks = comm.gather((np.stack([part.array for part in parts]), parts[0].offset))
if comm.rank == 0:
    whole = np.full(({OPTIONS["num_steps"]}, 2, 23, 23), np.nan)
    for values, (_, row, column) in blocks:
        whole[:, :, row : row + values.shape[2], column : column + values.shape[3]] = values
    np.save(sys.argv[1], whole)
    print([values.shape[2:] for values, _ in blocks])
"""

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(shutil.which(MPIEXEC) is None, reason="needs mpiexec: pip install 'melissa-like[mpi]'"),
]


@pytest.mark.parametrize(
    ("num_ranks", "blocks"),
    [
        (2, "[(23, 11), (23, 12)]"),
        (3, "[(23, 7), (23, 8), (23, 8)]"),
        (4, "[(11, 11), (11, 12), (12, 11), (12, 12)]"),
    ],
)
def test_the_same_bits_on_any_number_of_ranks(num_ranks: int, blocks: str, tmp_path: Path) -> None:
    path = tmp_path / "whole.npy"
    command = [str(MPIEXEC), "-n", str(num_ranks), sys.executable, "-m", "mpi4py", "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == blocks
    alone = SimpleNamespace(rank=0, size=1)
    items = solve(PARAMETERS, alone, **OPTIONS)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.load(path), [fields["concentration"].array for _, fields, _ in items])


def test_a_point_that_is_not_finite_is_an_error_on_every_rank() -> None:
    # In one substep it does not reach the other rank's block.
    program = """
import numpy as np
from mpi4py import MPI
from melissa_like.solvers.gray_scott2d.blocks import Block
from melissa_like.solvers.gray_scott2d.reaction_diffusion import ReactionDiffusion

block = Block(MPI.COMM_WORLD, 32)
initial = np.zeros((2, *block.shape))
if MPI.COMM_WORLD.rank == 0:
    initial[1, 8, 8] = np.nan
coefficients = {"feed": 0.04, "kill": 0.06, "diffusivities": (2e-5, 1e-5), "spacing": 1 / 64, "substep": 1.0}
ReactionDiffusion(initial, block, **coefficients).advance(1)
"""
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-m", "mpi4py", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode != 0
    assert done.stderr.count("the concentrations are not finite at time 1") == 2, "every rank says it"
