"""Imports flow one way, and a client stays light."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_origin

import pytest

import melissa_like

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(path.stem for path in (ROOT / "tests/benchmarks").glob("[a-z]*.py"))
PACKAGES = sorted(m.name for m in iter_modules(melissa_like.__path__) if m.ispkg)


def test_layers_and_forbidden_imports() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("melissa_like.client", ("torch", "hydra", "omegaconf", "mpi4py", "scipy")),
        ("melissa_like.study", ("torch", "zmq", "hydra")),
        ("melissa_like.assembly", ("torch", "zmq")),
        ("melissa_like.sampling", ("torch", "zmq", "scipy")),
        ("melissa_like.transport", ("torch",)),
        ("melissa_like.training", ("zmq", "mpi4py")),
        ("melissa_like.loading", ("zmq",)),
        ("melissa_like.buffer", ("zmq",)),
        ("melissa_like.buffer.recipes", ("torch",)),
        ("melissa_like.server.checking", ("torch",)),
        ("melissa_like.models", ("zmq", "mpi4py")),
        ("melissa_like.launcher.cli", ("torch",)),
        ("melissa_like.launcher.run", ("torch",)),
    ],
)
def test_a_fresh_interpreter_does_not_load(module: str, banned: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print([m for m in {banned!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_opens_with_a_page_and_deliberate_names(package: str) -> None:
    module = import_module(f"melissa_like.{package}")
    assert module.__doc__
    assert len(module.__doc__.split()) > 8
    for name in module.__all__:
        if get_origin(getattr(module, name)) is not None:
            continue  # an alias of a type: its page explains it
        assert getattr(module, name).__doc__, f"melissa_like.{package}.{name} has no docstring"


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_can_be_loaded(benchmark: str) -> None:
    """Nobody runs them with the tests, and what they call changes its name."""
    assert import_module(f"tests.benchmarks.{benchmark}").__doc__
