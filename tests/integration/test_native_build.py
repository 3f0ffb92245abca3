"""The client for other languages compiles without a warning, by whichever way a solver is built."""

from pathlib import Path

import pytest

from tests.integration.compiled import EXAMPLES, FORTRAN, MPICC, MPIFORT, NATIVE, C, needs, run


@needs("g++")
@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_the_header_is_of_cpp_too(tmp_path: Path, standard: str) -> None:
    (tmp_path / "main.cpp").write_text('#include "melissa_like.h"\nint main() { return ml_exit_code(ML_OK); }\n')
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wold-style-cast", "-Werror"]
    run(["g++", f"-std={standard}", *warnings, f"-I{NATIVE}", "-c", "main.cpp"], tmp_path)


@needs("gcc")
def test_the_header_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text('#include "melissa_like.h"\nint main(void) { return ml_exit_code(ML_OK); }\n')
    run(["gcc", *C, "-Wstrict-prototypes", f"-I{NATIVE}", "-c", "main.c"], tmp_path)


@needs(MPICC)
def test_the_complete_solver_in_c(tmp_path: Path) -> None:
    run([MPICC, *C, "-DML_WITH_MPI", f"-I{NATIVE}", "-c", EXAMPLES / "heat2d.c"], tmp_path)


@needs(MPIFORT)
def test_the_module_and_the_complete_solver_in_fortran(tmp_path: Path) -> None:
    run([MPIFORT, *FORTRAN, "-c", NATIVE / "melissa_like.f90", EXAMPLES / "heat2d.f90"], tmp_path)
