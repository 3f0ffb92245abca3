"""The client for other languages compiles without a warning, by whichever way a solver is built."""

import subprocess
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


def cmake(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Configure a project of one executable."""
    (folder / "CMakeLists.txt").write_text(f"cmake_minimum_required(VERSION 3.18)\n{text}\n")
    command = ["cmake", "-S", ".", "-B", "build", f"-Dmelissa_like_DIR={NATIVE / 'cmake'}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


@needs("cmake", "gcc", "gfortran", "pkg-config")
def test_a_cmake_project_without_mpi(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text(
        '#include "melissa_like.h"\nint main(void) { ml_client *c; return ml_connect(&c); }\n'
    )
    (tmp_path / "two.f90").write_text(
        "program two\nuse melissa_like\ntype(ml_client) :: client\ncall ml_connect(client)\nend program two\n"
    )
    done = cmake(
        tmp_path,
        "project(mine LANGUAGES C Fortran)\n"
        "find_package(melissa_like 0.1 REQUIRED COMPONENTS Fortran)\n"
        "find_package(melissa_like REQUIRED)\n"
        "add_executable(one one.c)\n"
        "target_link_libraries(one PRIVATE melissa_like::c)\n"
        "add_executable(two two.f90)\n"
        "target_link_libraries(two PRIVATE melissa_like::fortran)",
    )
    assert done.returncode == 0, done.stderr
    run(["cmake", "--build", "build"], tmp_path)
    for program in ("one", "two"):
        ran = subprocess.run([tmp_path / "build" / program], env={}, check=False, capture_output=True, timeout=20)
        assert ran.returncode != 0, "no launcher has started it"


@needs("cmake", "gcc")
@pytest.mark.parametrize(
    ("project", "words"),
    [
        (
            "project(mine LANGUAGES C)\nfind_package(melissa_like COMPONENTS Fortran REQUIRED)",
            "project(... LANGUAGES C",
        ),
        ("project(mine LANGUAGES C)\nfind_package(melissa_like COMPONENTS mpi REQUIRED)", "there is no component mpi"),
        ("project(mine LANGUAGES NONE)\nfind_package(melissa_like REQUIRED)", "the client is compiled from C"),
        ("project(mine LANGUAGES C)\nfind_package(melissa_like 9.0 REQUIRED)", "0.1.0"),
    ],
)
def test_what_cmake_cannot_find_is_said(tmp_path: Path, project: str, words: str) -> None:
    done = cmake(tmp_path, project)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())
