"""The pages for those who bring a solver or a model do what they say, each section from an empty folder."""

from pathlib import Path

import pytest

from tests.integration.compiled import MPICC_OF_FORTRAN, MPIFORT, needs
from tests.integration.pages import play, sections
from tests.integration.studies import ROOT

PAGES = {name: (ROOT / name / "README.md").read_text() for name in ("solvers", "melissa_like/training")}
#: Played in the slow run.
LONGER = {
    "What check tells",
    "One job for many simulations, or one each",
    "An MPI and a Python of your own",
    "In C, C++ or Fortran",
    "Two complete solvers, and CMake",
    "A program that you cannot change",
    "A mesh, for a network on a grid",
    "A mesh that differs from simulation to simulation",
    "Loss, optimizer, learning rate",
    "Several settings, one table",
    "What is learned",
    "Over time",
    "Meshes that differ",
    "What is refused",
}
#: Programs that a section needs and pip does not install.
COMPILERS = {
    "In C, C++ or Fortran": needs("gcc", "gfortran"),
    "Two complete solvers, and CMake": needs("cmake", MPICC_OF_FORTRAN, MPIFORT),
}
SECTIONS = [
    pytest.param(
        name,
        title,
        marks=[*([pytest.mark.slow] if title in LONGER else []), *([COMPILERS[title]] if title in COMPILERS else [])],
    )
    for name, page in PAGES.items()
    for title in sections(page)
]


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "title"), SECTIONS)
def test_a_section_from_an_empty_folder(tmp_path: Path, name: str, title: str) -> None:
    play(PAGES[name], title, tmp_path)
