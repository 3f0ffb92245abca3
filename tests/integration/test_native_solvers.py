"""heat2d in C and in Fortran: the numbers of the Python solver, on any number of ranks, and whole studies."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Kind
from melissa_like.solvers.heat2d import solve
from tests.integration.compiled import (
    EXAMPLES,
    FORTRAN,
    MPICC,
    MPICC_OF_FORTRAN,
    MPIEXEC,
    MPIFORT,
    NATIVE,
    C,
    needs,
    run,
)
from tests.integration.native_study import ScriptedStudy
from tests.integration.studies import melissa_like

GRID_SIZE, NUM_STEPS = 17, 6  # rows that two ranks, and three, share unevenly
SIMULATIONS = [
    {
        "initial_temperature": 300.0,
        "left_temperature": 150.0,
        "right_temperature": 450.0,
        "bottom_temperature": 120.0,
        "top_temperature": 480.0,
    },
    {
        "initial_temperature": 100.0,
        "left_temperature": 500.0,
        "right_temperature": 100.0,
        "bottom_temperature": 333.0,
        "top_temperature": 222.0,
    },
]
LANGUAGES = [
    pytest.param("c", marks=needs(MPICC, MPIEXEC)),
    pytest.param("fortran", marks=needs(MPIFORT, MPICC_OF_FORTRAN, MPIEXEC)),
]

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def solver(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The compiled solver in a language."""
    folder = tmp_path_factory.mktemp(request.param)
    program = folder / f"heat2d_{request.param}"
    own = ["-DML_WITH_MPI", f"-I{NATIVE}"]
    if request.param == "c":
        sources = [EXAMPLES / "heat2d.c", NATIVE / "melissa_like.c"]
        run([MPICC, *C, *own, *sources, "-o", program, "-lzmq", "-lm"], folder)
    else:
        run([MPICC_OF_FORTRAN, *C, *own, "-c", NATIVE / "melissa_like.c", "-o", "client.o"], folder)
        sources = [NATIVE / "melissa_like.f90", EXAMPLES / "heat2d.f90", Path("client.o")]
        run([MPIFORT, *FORTRAN, *sources, "-o", program, "-lzmq", "-lm"], folder)
    return program


@pytest.mark.parametrize("solver", LANGUAGES, indirect=True)
@pytest.mark.parametrize("num_ranks", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_numbers_of_heat2d(solver: Path, num_ranks: int, tmp_path: Path) -> None:
    temperature = say.WireField(name="temperature", shape=(GRID_SIZE, GRID_SIZE), dtype="float64")
    answers = [
        say.Assignment(simulation=i, attempt=1, purpose=0, parameters=tuple(parameters.values()), delivered_steps=())
        for i, parameters in enumerate(SIMULATIONS)
    ]
    welcome = {"fields": (temperature,), "parameters": tuple(SIMULATIONS[0])}
    with ScriptedStudy(tmp_path, *answers, welcome=welcome) as study:
        done = study.run([MPIEXEC, "-n", str(num_ranks), solver, str(GRID_SIZE), str(NUM_STEPS)])
    assert done.returncode == 0, done.stderr
    steps = study.assembled((GRID_SIZE, GRID_SIZE))
    times = {header.step: header.time for _, header, _ in study.parts if header.kind is Kind.PART}
    alone = SimpleNamespace(rank=0, size=1)
    for simulation, parameters in enumerate(SIMULATIONS):
        for step, fields, time in solve(parameters, alone, grid_size=GRID_SIZE, num_steps=NUM_STEPS):
            np.testing.assert_allclose(steps[simulation, step, 0], fields["temperature"], rtol=1e-6)
            assert times[step] == pytest.approx(time)
    assert len(steps) == len(SIMULATIONS) * NUM_STEPS
    assert [message.num_steps for message in study.of(say.Goodbye)] == [NUM_STEPS] * len(SIMULATIONS)


@pytest.mark.parametrize("solver", LANGUAGES, indirect=True)
def test_fewer_rows_than_ranks(solver: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [MPIEXEC, "-n", "2", solver, "1"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "1 rows, 100 steps on 2 ranks: each rank needs a row" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("solver", LANGUAGES, indirect=True)
def test_a_study_from_end_to_end(solver: Path, tmp_path: Path) -> None:
    ran = melissa_like(
        tmp_path / "study",
        "~solver.solve._target_",
        "~solver.solve.grid_size",
        "~solver.solve.num_steps",
        f"solver.command=[{solver},{GRID_SIZE},{NUM_STEPS}]",
        f"solver.fields.temperature.shape=[{GRID_SIZE},{GRID_SIZE}]",
        f"solver.num_steps={NUM_STEPS}",
        "study.num_simulations=8",
        "launcher.max_jobs=2",
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["delivered"] == ran.report["samples"]["trained_on"] == 8 * NUM_STEPS
    assert ran.report["samples"]["lost"] == 0
