"""The client for solvers in C, C++ and Fortran, as source files that a solver compiles with its own.

`melissa_like.h` is the interface and its documentation, `melissa_like.c` all of it over libzmq, `melissa_like.f90` the
Fortran module, `cmake` the package that `find_package(melissa_like)` finds. Python has nothing to do with it but to say
where the files are: `melissa-like native`, or `python -m melissa_like.client.native`. Imports neither torch nor hydra.
"""

from melissa_like.client.native.command import USAGE, native

__all__ = ["USAGE", "native"]
