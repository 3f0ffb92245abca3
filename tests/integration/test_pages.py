"""The pages for those who bring a solver or a model do what they say, each section from an empty folder."""

from pathlib import Path

import pytest

from tests.integration.pages import play, sections
from tests.integration.studies import ROOT

PAGES = {name: (ROOT / name / "README.md").read_text() for name in ("solvers", "melissa_like/training")}
#: Played in the slow run.
LONGER = {
    "What check tells",
    "One job for many simulations, or one each",
    "An MPI and a Python of your own",
    "A program that you cannot change",
    "A mesh, for a network on a grid",
    "Loss, optimizer, learning rate",
    "Several settings, one table",
    "What is refused",
}
SECTIONS = [
    pytest.param(name, title, marks=pytest.mark.slow if title in LONGER else ())
    for name, page in PAGES.items()
    for title in sections(page)
]


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "title"), SECTIONS)
def test_a_section_from_an_empty_folder(tmp_path: Path, name: str, title: str) -> None:
    play(PAGES[name], title, tmp_path)
