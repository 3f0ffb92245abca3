"""Compilers for the client in C and Fortran, as the tests call them: warnings are errors."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.studies import ROOT

NATIVE = ROOT / "melissa_like" / "client" / "native"
EXAMPLES = ROOT / "solvers" / "heat2d" / "native"
C = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2")
#: In the place of the optimization: what reads or writes where nothing is, or is undefined in C, ends the program.
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FORTRAN = ("-std=f2018", "-Wall", "-Wextra", "-Werror", "-O2")
#: Of the MPI that pip has installed; it knows no Fortran, so that comes from Debian's, which is of the same family.
MPICC = Path(sys.executable).with_name("mpicc")
MPIEXEC = Path(sys.executable).with_name("mpiexec")
MPIFORT, MPICC_OF_FORTRAN = "mpifort.mpich", "mpicc.mpich"


def needs(*programs: str | Path) -> pytest.MarkDecorator:
    """Skip where a compiler is missing, or the library of the client."""
    missing = [str(program) for program in programs if shutil.which(program) is None]
    if not any(Path(folder, "zmq.h").exists() for folder in ("/usr/include", "/usr/local/include")):
        missing.append("zmq.h")
    packages = "gcc g++ gfortran cmake pkg-config libzmq3-dev mpich libmpich-dev"
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: apt-get install {packages}")


def run(command: Sequence[str | Path], folder: Path, *, timeout_s: float = 100.0) -> "subprocess.CompletedProcess[str]":
    """A command that must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done
