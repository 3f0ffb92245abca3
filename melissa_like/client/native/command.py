"""What a compiler is told: the options of `melissa-like native`, and the words that they print."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["USAGE", "native"]

USAGE = """usage: melissa-like native OPTION ...

Prints what a compiler needs to build a solver in C, C++ or Fortran, on one line and in the order of the options:

  --source           the C source file, which is compiled with the solver
  --fortran-source   the Fortran module
  --cflags           where the header and that of libzmq are
  --libs             the libraries
  --mpi              with --cflags: for a solver with MPI
  --cmake-dir        what to set melissa_like_DIR to for CMake's find_package(melissa_like)
  --examples         the folder of two complete solvers, in C and in Fortran

  gcc solver.c $(melissa-like native --source --cflags --libs) -o solver
  mpicc solver.c $(melissa-like native --source --mpi --cflags --libs) -o solver
"""
_HERE = Path(__file__).parent
_MPI = "--mpi"


def native(arguments: Sequence[str]) -> int:
    """Print what the options ask for.

    Args:
        arguments: as on the command line, without the word `native`.

    Returns:
        The exit code: 0, or 2 after an option that is none.
    """
    if any(argument in ("--help", "-h") for argument in arguments):
        sys.stdout.write(USAGE)
        return 0
    unknown = next((argument for argument in arguments if argument not in {*_WORDS, _MPI}), None)
    if unknown is not None:
        sys.stderr.write(
            f"melissa-like native: unknown option {unknown!r}: write some of {', '.join(_WORDS)}, {_MPI}\n"
        )
        return 2
    wanted = [argument for argument in arguments if argument != _MPI]
    if not wanted:
        sys.stderr.write(f"melissa-like native: nothing was asked for\n{USAGE}")
        return 2
    with_mpi = _MPI in arguments
    sys.stdout.write(" ".join(word for option in wanted for word in _WORDS[option](with_mpi)) + "\n")
    return 0


def _cflags(with_mpi: bool) -> list[str]:
    """Of what libzmq depends on, nothing is needed: what pkg-config says as `--cflags` would name that too."""
    of_zmq = [f"-I{folder}" for folder in _said_by_pkg_config("--variable=includedir") if folder != "/usr/include"]
    return [f"-I{_HERE}", *(["-DML_WITH_MPI"] if with_mpi else []), *of_zmq]


def _libs(with_mpi: bool) -> list[str]:
    return [*(_said_by_pkg_config("--libs") or ["-lzmq"]), "-lm"]


def _said_by_pkg_config(option: str) -> list[str]:
    """Of libzmq; nothing where there is no pkg-config, or it does not know it: the compiler's own folders must do."""
    program = shutil.which("pkg-config")
    if program is None:
        return []
    done = subprocess.run([program, option, "libzmq"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.split() if done.returncode == 0 else []


_WORDS: Mapping[str, Callable[[bool], list[str]]] = {
    "--source": lambda with_mpi: [str(_HERE / "melissa_like.c")],
    "--fortran-source": lambda with_mpi: [str(_HERE / "melissa_like.f90")],
    "--cflags": _cflags,
    "--libs": _libs,
    "--cmake-dir": lambda with_mpi: [str(_HERE / "cmake")],
    "--examples": lambda with_mpi: [str(_HERE.parents[1] / "solvers" / "heat2d" / "native")],
}
