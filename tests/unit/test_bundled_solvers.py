"""What holds for every bundled solver."""

import subprocess
import sys
from pathlib import Path

import pytest

SOLVERS = Path(__file__).parents[2] / "solvers"
NAMES = sorted(path.parent.name for path in SOLVERS.glob("*/__init__.py"))


def test_they_are_found() -> None:
    assert {"heat2d", "navier_stokes2d", "gray_scott2d"} <= set(NAMES)


def test_they_need_nothing_but_the_client() -> None:
    banned = ("mpi4py", "torch", "hydra", "omegaconf", "matplotlib", "scipy")
    imports = "; ".join(f"import melissa_like.solvers.{name}" for name in NAMES)
    program = f"import sys; {imports}; print([name for name in {banned!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_solvers_names_them(name: str) -> None:
    assert f"({name})" in (SOLVERS / "README.md").read_text(encoding="utf-8")
